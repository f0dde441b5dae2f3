"""Write the data of the gallery from what comes with scikit-learn: python docs/make_data.py (it needs scikit-learn).

digits: 1797 images of 8 x 8 pixels, 0 to 16 (Alpaydin and Kaynak, Optical recognition of handwritten digits, UCI 1998).
iris: Fisher 1936, species 0 setosa, 1 versicolor, 2 virginica. Both are under CC BY 4.0.
"""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits, load_iris
from sklearn.model_selection import train_test_split

DATA = Path(__file__).parents[1] / "models" / "data"


def write_digits():
    """All images in one archive, and split into three quarters for training and one for testing, class by class."""
    images, labels = (array.astype(np.uint8) for array in load_digits(return_X_y=True))
    np.savez_compressed(DATA / "digits.npz", x=images, y=labels)
    parts = train_test_split(images, labels, test_size=0.25, stratify=labels, random_state=0)
    names = ("train_x", "test_x", "train_y", "test_y")
    np.savez_compressed(DATA / "digits_split.npz", **dict(zip(names, parts, strict=True)))


def write_iris():
    """A table with a header."""
    flowers = load_iris()
    rows = [[*map(str, row), str(species)] for row, species in zip(flowers.data, flowers.target, strict=True)]
    header = ["sepal_length", "sepal_width", "petal_length", "petal_width", "species"]
    lines = [",".join(row) for row in [header, *rows]]
    (DATA / "iris.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_digits()
    write_iris()
