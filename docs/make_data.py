"""Write the data of the gallery: python docs/make_data.py (it needs scikit-learn, which brings digits and irises).

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


def write_sums():
    """The adding problem of Hochreiter and Schmidhuber 1997: eight numbers, two of them marked; what is their sum?"""
    numbers = np.random.Generator(np.random.Philox(0))
    values = numbers.integers(0, 256, size=(768, 8), dtype=np.uint8)
    marked = np.argsort(numbers.random((768, 8)), axis=1)[:, :2]
    marks = np.zeros_like(values)
    np.put_along_axis(marks, marked, 255, axis=1)
    sums = np.take_along_axis(values, marked, axis=1).sum(axis=1) / 255
    x = np.stack([values, marks], axis=2)
    np.savez_compressed(DATA / "sums.npz", train_x=x[:512], train_y=sums[:512], test_x=x[512:], test_y=sums[512:])


if __name__ == "__main__":
    write_digits()
    write_iris()
    write_sums()
