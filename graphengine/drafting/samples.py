"""Drafts without a table: a complete model of each kind, with sample data in the file, to be replaced by one's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from random import Random
from typing import Any

from graphengine.drafting.columns import ColumnKind
from graphengine.drafting.networks import convolution, series_memory
from graphengine.drafting.parts import Parts, training
from graphengine.drafting.roles import Role, Task
from graphengine.drafting.table_model import Family, table_model

ROWS = 60
"""Rows of sample data."""
SIZE = 6
"""Height and width of a sample image, and steps of a sample sequence."""
FILTERS = 4


def template(kind: str, name: str) -> dict[str, Any]:
    """Return a model document of a kind of `TEMPLATES`."""
    return TEMPLATES[kind](name)


def _flats() -> list[dict[str, Any]]:
    """Made-up flats: their rent follows from size, rooms and town; those of a low rent for their size are let soon."""
    draw, rows = Random(0), []
    for _ in range(ROWS):
        size, rooms, town = draw.randint(30, 150), draw.randint(1, 5), draw.choice(["coast", "hills", "plain"])
        rent = 300 + 12 * size + 50 * rooms + 400 * (town == "coast") + draw.randint(-100, 100)
        let = "soon" if rent < 400 + 13 * size + draw.randint(-100, 100) else "late"
        rows.append({"size": size, "rooms": rooms, "town": town, "rent": rent, "let": let})
    return rows


def _table(family: Family, target: str, name: str) -> dict[str, Any]:
    rows = _flats()
    roles = {column: _role(place, column, [row[column] for row in rows]) for place, column in enumerate(rows[0])}
    task = Task(roles[target], [role for column, role in roles.items() if column not in ("rent", "let")])

    def source(columns: Mapping[str, Role | list[Role]]) -> dict[str, Any]:
        def values(what: Role | list[Role]) -> list[Any]:
            return [[row[each.column] for each in what] if isinstance(what, list) else row[what.column] for row in rows]

        return {"type": "inline", "values": {name: values(what) for name, what in columns.items()}}

    return table_model(name, "made-up flats", len(rows), task, family, source)


def _role(place: int, column: str, cells: list[Any]) -> Role:
    texts = tuple(sorted({cell for cell in cells if isinstance(cell, str)}))
    kind = ColumnKind.category if texts else ColumnKind.number
    return Role(column, place, kind, True, "sample data", 0, texts)


def _cnn(name: str) -> dict[str, Any]:
    parts, images, labels = Parts(), *_stripes()
    parts.inputs["images"] = {"shape": ["N", SIZE, SIZE], "description": "pixels from 0 to 9, row by row"}
    classes = sorted(set(labels))
    described = "which way the stripes of an image run"
    parts.inputs["stripes"] = {"shape": ["N"], "dtype": "int64", "categories": classes, "description": described}
    parts.node("pixels", "div", ["images", 9], "pixels from 0 to 1")
    parts.node("channel", "expand_dims", ["pixels"], "an axis for the one color", axis=1)
    convolution(parts, "channel", FILTERS)
    parts.node("largest", "max", ["active"], "whether a pattern is anywhere in the image", axis=[2, 3])
    parts.node("scores", "nn.dense", ["largest"], "a score for each class", units=len(classes))
    metric = parts.classify("scores", "stripes")
    data = {"type": "inline", "values": {"images": images, "stripes": labels}}
    section = training(ROWS, metric, 0.03, 100, 16, "stripes")
    return parts.document(name, "Convolutional network: which way made-up stripes run", data, section)


def _stripes() -> tuple[list[list[list[int]]], list[str]]:
    draw, images, labels = Random(0), [], []
    for number in range(ROWS):
        shift, upright = draw.random() * 6, number % 2 == 0
        image = _striped(shift, upright)
        images.append([[pixel + draw.randint(0, 2) for pixel in row] for row in image])
        labels.append("upright" if upright else "level")
    return images, labels


def _striped(shift: float, upright: bool) -> list[list[int]]:
    line = [round(3.5 + 3.5 * math.sin(2.1 * place + shift)) for place in range(SIZE)]
    return [line] * SIZE if upright else [[pixel] * SIZE for pixel in line]


def _lstm(name: str) -> dict[str, Any]:
    parts, series, following = Parts(), *_waves()
    parts.inputs["series"] = {"shape": ["N", "T"], "description": "numbers of a series, the oldest first"}
    parts.inputs["following"] = {"shape": ["N"], "description": "the number that follows, which is predicted"}
    memory = series_memory(parts, "series")
    parts.node("scores", "nn.dense", [memory], "the prediction on the scale of the scaled target", units=1)
    metric = parts.regress("scores", "following")
    data = {"type": "inline", "values": {"series": series, "following": following}}
    section = training(ROWS, metric, 0.02, 200, 16)
    return parts.document(name, "Long short-term memory: the next number of made-up waves", data, section)


def _waves() -> tuple[list[list[float]], list[float]]:
    draw, series, following = Random(0), [], []
    for _ in range(ROWS):
        step, shift = draw.uniform(0.3, 1.0), draw.uniform(0, 6)
        *numbers, last = [round(math.sin(step * place + shift), 3) for place in range(SIZE + 1)]
        series.append(numbers)
        following.append(last)
    return series, following


TEMPLATES: dict[str, Callable[[str], dict[str, Any]]] = {
    "linear": partial(_table, Family.linear, "rent"),
    "logistic": partial(_table, Family.logistic, "let"),
    "mlp": partial(_table, Family.mlp, "rent"),
    "cnn": _cnn,
    "lstm": _lstm,
}
"""Makers of documents by kind; each takes the name of the model."""
