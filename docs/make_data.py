"""Write the data of the gallery: python docs/make_data.py (it needs scikit-learn, which brings digits and irises).

digits: 1797 images of 8 x 8 pixels, 0 to 16 (Alpaydin and Kaynak, Optical recognition of handwritten digits, UCI 1998).
iris: Fisher 1936, species 0 setosa, 1 versicolor, 2 virginica. Both are under CC BY 4.0.
"""

from pathlib import Path

import numpy as np
from scipy.integrate import solve_ivp
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


def solved(rates, start, times):
    """The solution of a differential equation, exact in all digits that are written."""
    return solve_ivp(rates, (0, times[-1]), start, t_eval=times, method="DOP853", rtol=1e-12, atol=1e-14).y.T


def write_sir():
    """Infected people on 20 days, with errors of 0.003."""
    days = np.arange(0, 40, 2)
    course = solved(lambda t, y: [-0.5 * y[0] * y[1], 0.5 * y[0] * y[1] - 0.2 * y[1]], [0.998, 0.002], days)
    seen = course[:, 1] + np.random.Generator(np.random.Philox(0)).normal(scale=0.003, size=20)
    lines = ["day,infected", *[f"{day},{part:.5f}" for day, part in zip(days, seen, strict=True)]]
    (DATA / "sir.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_lotka_volterra():
    """Predators and prey in 16 years, with errors of 1."""
    years = np.arange(16)
    rates = lambda t, y: [0.6 * y[0] - 0.03 * y[0] * y[1], 0.02 * y[0] * y[1] - 0.8 * y[1]]  # noqa: E731
    counted = solved(rates, [30, 4], years) + np.random.Generator(np.random.Philox(1)).normal(size=(16, 2))
    lines = ["year,prey,predators", *[f"{year},{x:.3f},{p:.3f}" for year, (x, p) in zip(years, counted, strict=True)]]
    (DATA / "lotka_volterra.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_peak():
    """Counts in 60 bins: 140 events in a Gaussian peak, on a background that falls."""
    channels = np.arange(0.5, 60)
    peak = 140 / (2.2 * np.sqrt(2 * np.pi)) * np.exp(-0.5 * ((channels - 31.3) / 2.2) ** 2)
    counts = np.random.Generator(np.random.Philox(2)).poisson(peak + 14 - 0.12 * (channels - 30))
    lines = ["channel,counts", *[f"{channel},{count}" for channel, count in zip(channels, counts, strict=True)]]
    (DATA / "peak.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_digits()
    write_iris()
    write_sums()
    write_sir()
    write_lotka_volterra()
    write_peak()
