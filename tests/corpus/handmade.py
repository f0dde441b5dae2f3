"""Cases whose text is what is wrong, written by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator

from corpus.documents import HEAD, LINREG
from corpus.marking import text_of

MODEL = (
    '{"format": "graphengine.model", "format_version": 1, "opset_imports": {"core": 1}, "name": "m",\n'
    ' "inputs": {"x": {"shape": ["N"]}},\n'
    ' "nodes": [{"id": "z", "op": "neg", "inputs": ["x"]}],\n'
    ' "outputs": {"z": "z"}}'
)

NOT_A_MODEL = [
    "⟨GE104⟩[]", "⟨GE104⟩null", "⟨GE104⟩3", '⟨GE104⟩"graphengine.model"', "⟨GE104⟩{}", '{"format": ⟨GE104⟩null}',
    '{"format": ⟨GE104⟩"onnx"}', '{"format": ⟨GE104⟩"graphengine.function"}', '{"format": ⟨GE104⟩["graphengine.model"]}',
    '{"format": "graphengine.model", "format_version": ⟨GE104⟩2}',
    '{"format": "graphengine.model",\n "format_version": ⟨GE104⟩1000000000000}',
]  # fmt: skip

SYNTAX = [
    "⟨GE102⟩", "⟨GE102⟩ ", "{⟨GE102⟩", '{"format"⟨GE102⟩', '{"format":⟨GE102⟩', "[⟨GE102⟩", "[1⟨GE102⟩", '["a⟨GE102⟩',
    "⟨GE102⟩'a'", "{⟨GE102⟩a: 1}", "{⟨GE102⟩'a': 1}", '{"a" ⟨GE102⟩1}', '{"a": 1⟨GE102⟩,}', '{"a": 1 ⟨GE102⟩"b": 2}', "[1⟨GE102⟩,]",
    "[⟨GE102⟩,1]", "[1 ⟨GE102⟩2]", '{"a": ⟨GE102⟩}', "⟨GE102⟩True", "⟨GE102⟩undefined", "⟨GE102⟩// comment\n{}", "⟨GE102⟩/* c */{}",
    "⟨GE102⟩#\n{}", '{"a": ⟨GE102⟩.5}', '{"a": ⟨GE102⟩+1}', '{"a": ⟨GE102⟩01}', '{"a": "⟨GE102⟩\t"}', '{"a": "x⟨GE102⟩\n"}',
    '{"a": "⟨GE102⟩\\x"}', '{"a": "⟨GE102⟩\\u12"}', "{⟨GE102⟩\x00}", "⟨GE102⟩<html></html>", "⟨GE102⟩PK\x03\x04", "⟨GE102⟩format: yaml",
]  # fmt: skip

LEFT_OPEN = [
    ("goes-on", MODEL + "⟨GE127⟩x"),
    ("goes-on-2", MODEL + "\n⟨GE127⟩{}"),
    ("goes-on-3", MODEL + "⟨GE127⟩]"),
    ("goes-on-4", MODEL + "\n\n⟨GE127⟩\x00"),
    ("twice-name", MODEL.replace('"name": "m"', '"name": "a", ⟨GE122⟩"name": "m"')),
    ("twice-escaped", MODEL.replace('"name": "m"', '"name": "a", ⟨GE122⟩"\\u006eame": "m"')),
    ("twice-escaped-2", MODEL.replace('"name": "m"', '"na\\u006de": "a", ⟨GE122⟩"name": "m"')),
    ("twice-node", MODEL.replace('"op": "neg"', '"op": "exp", ⟨GE122⟩"op": "neg"')),
    ("twice-node-spaced", MODEL.replace('"op": "neg"', '"op" : "exp",\n⟨GE122⟩"op"\n:\n"neg"')),
    ("twice-input", MODEL.replace('"x": {"shape": ["N"]}', '"x": {"shape": []}, ⟨GE122⟩"x": {"shape": ["N"]}')),
    ("twice-section", MODEL.replace(' "nodes"', ' "inputs": {}, "outputs": {"a": ":"}, "nodes"').replace(
        '"inputs": {}', '⟨GE122⟩"inputs": {"x": {"shape": []}}').replace(' "outputs": {"z"', ' ⟨GE122⟩"outputs": {"z"')),
    ("twice-metadata", MODEL.replace('"name"', '"metadata": {"a": [{"b": 1, "c": 2, ⟨GE122⟩"b": 3}]}, "name"')),
    ("twice-three", MODEL.replace('"name": "m"', '"name": "a", ⟨GE122⟩"name": "b", ⟨GE122⟩"name": "m"')),
    ("nan", MODEL.replace('"x"]', "⟨GE123⟩NaN]")),
    ("infinity", MODEL.replace('"x"]', "⟨GE123⟩Infinity]")),
    ("minus-infinity", MODEL.replace('"x"]', "⟨GE123⟩-Infinity]")),
    ("nan-metadata", MODEL.replace('"name"', '"metadata": {"a": ⟨GE123⟩NaN}, "name"')),
    ("overflow", MODEL.replace('"x"]', "⟨GE124⟩1e999]")),
    ("overflow-2", MODEL.replace('"x"]', "⟨GE124⟩-1.5e400]")),
    ("overflow-3", MODEL.replace('"x"]', f"⟨GE124⟩{'9' * 310}]")),
    ("long-integer", MODEL.replace('"x"]', f"⟨GE125⟩{'1' * 30}]")),
    ("long-integer-2", MODEL.replace('"x"]', "⟨GE125⟩-9223372036854775809]")),
    ("long-integer-3", MODEL.replace('"name"', f'"metadata": {{"a": ⟨GE125⟩{2**64}}}, "name"')),
    ("surrogate", MODEL.replace('"name": "m"', '"name": "m⟨GE126⟩\\ud800"')),
    ("surrogate-2", MODEL.replace('"name": "m"', '"name": "⟨GE126⟩\\udc00m"')),
    ("surrogate-3", MODEL.replace('"name": "m"', '"name": "⟨GE126⟩\\udbff⟨GE126⟩\\ud800"')),
    ("surrogate-key", MODEL.replace('"name"', '"metadata": {"⟨GE126⟩\\ud800": 1}, "name"')),
    ("all-at-once", MODEL.replace('"name": "m"', '"name": "⟨GE126⟩\\ud800",\n ⟨GE122⟩"name": "m", "metadata": [⟨GE123⟩NaN, 1]')
        .replace('"metadata": [', '"metadata": ⟨GE112⟩[')),
]  # fmt: skip

TOO_DEEP = [
    ("arrays", "[" * 64 + "⟨GE130⟩[" + "]" * 65),
    ("objects", '{"a":' * 64 + '⟨GE130⟩{"a":' + "1" + "}" * 65),
    ("open", "[" * 64 + "⟨GE130⟩[" + "[" * 99_935),
    ("open-objects", '{"a":' * 64 + '⟨GE130⟩{"a":' + '{"a":' * 9_935),
    ("metadata", MODEL.replace('"name"', '"metadata": {"a": ' + "[" * 62 + "⟨GE130⟩[" + "]" * 63 + '}, "name"')),
    ("value", MODEL.replace(' "nodes"', ' "parameters": {"p": {"shape": [], "initializer": {"type": "zeros"}, "value": '
        + "[" * 61 + "⟨GE130⟩[" + "0" + "]" * 62 + '}}, "nodes"')),
]  # fmt: skip

NOT_UTF8 = [
    ("latin-1", '{"name": "café"}'.encode("latin-1"), ("GE121", 1, 14)),
    ("utf-16", MODEL.encode("utf-16"), ("GE121", 1, 1)),
    ("lone-byte", b"\xff", ("GE121", 1, 1)),
    ("surrogate-bytes", b'{"a": "\xed\xa0\x80"}', ("GE121", 1, 8)),
    ("overlong", b'{\n"a": "\xc0\x80"}', ("GE121", 2, 7)),
    ("cut", '{"a": "é'.encode()[:-1], ("GE121", 1, 8)),
    ("bom", b"\xef\xbb\xbf" + MODEL.encode(), ("GE120", 1, 1)),
]


def cases() -> Iterator[tuple[str, str]]:
    """All cases that are text, as names and texts with marks."""
    for family, texts in (("not_a_model", NOT_A_MODEL), ("syntax", SYNTAX)):
        yield from ((f"{family}-{index}", text) for index, text in enumerate(texts))
    for family, named in (("left_open", LEFT_OPEN), ("too_deep", TOO_DEEP)):
        yield from ((f"{family}-{name}", text) for name, text in named)
    yield from _cut()
    yield from _several()


def _cut() -> Iterator[tuple[str, str]]:
    """A file that ends too soon, behind each line."""
    lines = text_of(LINREG).splitlines()
    for count in range(1, len(lines), 7):
        yield f"cut-{count}", "\n".join(lines[:count]) + "⟨GE102⟩"


def _several() -> Iterator[tuple[str, str]]:
    """Independent errors, all of which are reported in one run."""
    text = json.dumps({**HEAD, "name": "m"}, indent=1)[:-2]
    yield "several-form", text + (
        ',\n "inputs": {"x": {"shape": ⟨GE112⟩"N", ⟨GE110⟩"shpe": 1}},\n "nodes": [{"id": ⟨GE112⟩"1", "op": "neg", "inputs": ⟨GE212⟩[]},'
        ' ⟨GE111⟩{"op": "neg"\n, "inputs": ⟨GE212⟩[]}],\n "outputs": {"z": ⟨GE112⟩3}, "training": {"loss": "z",\n'
        '  "optimizer": {"type": "sgd", "learning_rate": ⟨GE112⟩-1}, "epochs": ⟨GE112⟩0}}'
    )  # fmt: skip
    yield "several-names", text + (
        ',\n "inputs": {"x": {"shape": ["N"]}},\n "nodes": [{"id": "a", "op": ⟨GE211⟩"negg", "inputs": ["x"]},\n'
        '  {"id": "b", "op": "neg", "inputs": [⟨GE210⟩"y"]}, {"id": "c", "op": "mul", "inputs": ⟨GE212⟩["x"]},\n'
        '  {"id": ⟨GE201⟩"x", "op": "neg", "inputs": ["b"]}, {"id": "d", "op": "sum", "inputs": ["x"], "attributes":\n'
        '  {⟨GE213⟩"axes": 0}}],\n "outputs": {"z": ⟨GE210⟩"nothing"}}'
    )  # fmt: skip
    yield "several-shapes", text + (
        ',\n "inputs": {"x": {"shape": ["N"]}, "y": {"shape": [3, 4]}},\n "nodes": [\n ⟨GE301⟩{"id": "a", "op": "add", "inputs":'
        ' ["x", "y"]},\n ⟨GE301⟩{"id": "b", "op": "matmul", "inputs": ["y", "y"]}, {"id": "c", "op": "neg", "inputs": ["a"]}],\n'
        ' "outputs": {"z": "c"}}'
    )  # fmt: skip
