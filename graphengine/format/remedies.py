"""What to write in the place of what is wrong: an example for each place of a file, and what makes a text JSON."""

from __future__ import annotations

import re

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
    if path[:1] == ("functions",) and len(path) > 2:
        path = path[2:]
    if path[2:3] == ("shape",) and len(path) == 4:
        return _SIZE
    for places, text in EXAMPLES.items():
        if len(places) == len(path) and all(each in ("*", part) for each, part in zip(places, path, strict=True)):
            return f"write it like {text}"
    return None


def syntax(text: str, place: int) -> str | None:
    """Why a text is not JSON from a place on, as a hint, where the text there shows it."""
    rest, before = text[place:], text[:place].rstrip()
    word = re.match(r"[A-Za-z_]\w*", rest)
    if not rest.strip():
        return "something is not closed: the file may have been cut off"
    if rest.startswith(("//", "/*", "#")):
        return 'JSON has no comments; there are keys for them, "description" and "metadata"'
    if word and word[0] in ("True", "False", "None"):
        return "JSON writes true, false and null"
    if not before:
        return "a model file is a JSON object and begins with {"
    if rest[0] == "'" or word:
        return "write keys and strings in double quotes"
    return _comma(before, rest)


def _comma(before: str, rest: str) -> str | None:
    """What is wrong with the comma between two parts of a text, if anything is."""
    if rest[0] == "," and before[-1] in ",[{:":
        return "this comma is one too many"
    if re.match(r",\s*[\]}]", rest):
        return "remove the comma before the closing bracket"
    if rest[0] == '"' and before[-1] not in "{[,:":
        return "a comma is missing in front of it"
    return None
