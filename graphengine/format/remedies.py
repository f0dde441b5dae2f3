"""What to write in the place of what is wrong: an example for each place of a file, and what makes a text JSON."""

from __future__ import annotations

import re

_WORD = re.compile(r"(?:[A-Za-z_]\w*)?")
_LAST_COMMA = re.compile(r",\s*[\]}]")
_SIZE = 'a size that is not always the same is a symbol such as "N"'
_DECLARED = '{"shape": [], "initializer": {"type": "zeros"}}'
_NODE = '{"id": "z", "op": "mul", "inputs": ["x", "y"]}'
_SOURCE = '{"type": "csv", "path": "data/train.csv"}'
EXAMPLES = {
    ("opset_imports",): '{"core": 1}',
    ("inputs",): '{"x": {"shape": ["N"]}}',
    ("inputs", "*"): '{"shape": ["N"]}',
    ("parameters",): f'{{"theta": {_DECLARED}}}',
    ("parameters", "*"): _DECLARED,
    ("state",): f'{{"mean": {_DECLARED}}}',
    ("state", "*"): _DECLARED,
    ("*", "*", "shape"): '["N", 3]',
    ("*", "*", "initializer"): '{"type": "zeros"}',
    ("functions",): f'{{"f": {{"inputs": {{"x": {{}}, "y": {{}}}}, "nodes": [{_NODE}], "outputs": {{"out": "z"}}}}}}',
    ("nodes",): f"[{_NODE}]",
    ("nodes", "*"): _NODE,
    ("nodes", "*", "inputs"): '["x", "y"]',
    ("nodes", "*", "attributes"): '{"axis": 0}',
    ("outputs",): '{"out": "z"}',
    ("data",): f'{{"train": {_SOURCE}}}',
    ("data", "*"): _SOURCE,
    ("training", "optimizer"): '{"type": "adam", "learning_rate": 0.001}',
}
"""By path, in which * is any name or index: what is allowed there, as JSON."""


def example(path: tuple[str | int, ...]) -> str | None:
    """How to write the value at a path of a model file, as a hint."""
    path = _within_function(path)
    if path[2:3] == ("shape",) and len(path) == 4:
        return _SIZE
    return next((f"write it like {text}" for places, text in EXAMPLES.items() if _fits(path, places)), None)


def _within_function(path: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """The path of a part of a function as from the function, which has sections as a file has; any other as it is."""
    return path[2:] if path[:1] == ("functions",) and len(path) > 2 else path


def _fits(path: tuple[str | int, ...], places: tuple[str, ...]) -> bool:
    return len(places) == len(path) and all(each in ("*", part) for each, part in zip(places, path, strict=True))


def syntax(text: str, place: int) -> str | None:
    """Why a text is not JSON from a place on, as a hint, where the text there shows it."""
    rest, before = text[place:], text[:place].rstrip()
    word = _WORD.match(rest)[0]  # type: ignore[index] # it matches any text
    hints = (
        (not rest.strip(), "something is not closed: the file may have been cut off"),
        (
            rest.startswith(("//", "/*", "#")),
            'JSON has no comments; there are keys for them, "description" and "metadata"',
        ),
        (word in ("True", "False", "None"), "JSON writes true, false and null"),
        (not before, "a model file is a JSON object and begins with {"),
        (word or rest[:1] == "'", "write keys and strings in double quotes"),
        (rest[:1] == "," and before[-1:] in ",[{:", "this comma is one too many"),
        (_LAST_COMMA.match(rest), "remove the comma before the closing bracket"),
        (rest[:1] == '"' and before[-1:] not in "{[,:", "a comma is missing in front of it"),
    )
    return next((hint for holds, hint in hints if holds), None)
