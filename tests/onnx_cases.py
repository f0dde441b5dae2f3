"""ONNX's own cases through the import: each model is loaded, run on the inputs of the case, and compared."""

import re
import warnings

import numpy as np
import onnx
from onnx.backend.test.loader import load_model_tests

from graphengine.errors import GraphEngineError
from graphengine.model.onnx_files import from_proto

NARROW = (10, 16, 17, 18, 19, 20, 23)
"""Types of less than single precision: 16, 8 and 4 bits."""
TOLERANCE, NARROW_TOLERANCE = 1e-3, 2e-2
"""Relative; that of single precision is the one that ONNX's runner has for its cases."""


def cases(kind):
    """The cases of a kind, with the same numbers in each run."""
    np.random.seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load_model_tests(kind=kind)


def read(case):
    """The model of a case and its data sets: inputs and outputs."""
    if case.model is not None:
        return case.model, case.data_sets
    from pathlib import Path

    folder = Path(case.model_dir)
    sets = [tuple(stored(each, part) for part in ("input", "output")) for each in sorted(folder.glob("test_data_set*"))]
    return onnx.load(folder / "model.onnx"), sets


def stored(folder, part):
    """The tensors of a data set, in order."""
    files = sorted(folder.glob(f"{part}_*.pb"), key=lambda path: int(re.findall(r"\d+", path.stem)[-1]))
    return [onnx.TensorProto.FromString(path.read_bytes()) for path in files]


def plain(value):
    """A value of a case in our dtype for it."""
    if isinstance(value, onnx.TensorProto):
        value = onnx.numpy_helper.to_array(value)
    array, name = np.asarray(value), np.asarray(value).dtype.name
    if "float" in name and name not in ("float32", "float64"):
        return array.astype(np.float32)
    return array.astype("uint8" if "uint" in name else "int8") if re.fullmatch(r"u?int[24]", name) else array


def loaded(model, given):
    """The model, with those inputs as constants that have to be known, or the problems."""
    fixed = {}
    while True:
        try:
            return from_proto(model, fixed=fixed), None
        except GraphEngineError as error:
            hints = " ".join(problem.hint or "" for problem in error.problems)
            asked = {name for name in given if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", hints)} - set(fixed)
            if not asked:
                return None, error.problems
            fixed |= {name: given[name] for name in asked}


def outcome(case):
    """("pass", None), ("refused", problems) or ("wrong", what differs)."""
    model, sets = read(case)
    initial = {each.name for each in model.graph.initializer}
    names = [each.name for each in model.graph.input if each.name not in initial]
    for inputs, outputs in sets:
        given = dict(zip(names, map(plain, inputs) if all(map(is_array, inputs)) else inputs, strict=True))
        imported, problems = loaded(model, given)
        if problems:
            return "refused", problems
        ids = {old: new for new, old in imported.document.metadata["onnx"].get("names", {}).items()}
        feed = {ids.get(name, name): value for name, value in given.items()}
        found = imported.predict({name: value for name, value in feed.items() if name in imported.graph.inputs})
        declared = [each for each in model.graph.output if each.name]
        for each, wanted in zip(declared, outputs, strict=True):
            name = ids[each.name] if ids.get(each.name) in found else each.name
            narrow = is_narrow(each) or any(map(is_narrow, model.graph.input))
            wrong = difference(found[name], plain(wanted), case, NARROW_TOLERANCE if narrow else TOLERANCE)
            if wrong:
                return "wrong", f"output {each.name}: {wrong}"
    return "pass", None


def is_array(value):
    """Whether a value is a tensor, and no sequence."""
    return not isinstance(value, (list, dict, str)) and value is not None


def is_narrow(declared):
    """Whether an input or output has less than single precision."""
    return declared.type.tensor_type.elem_type in NARROW


def difference(found, wanted, case, tolerance):
    """What differs, in words; None for nothing."""
    found = np.asarray(found)
    if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
        return f"{found.dtype}{found.shape} and not {wanted.dtype}{wanted.shape}"
    if wanted.dtype.kind != "f":
        return None if np.array_equal(found, wanted) else f"{found.reshape(-1)[:5]} and not {wanted.reshape(-1)[:5]}"
    near = np.allclose(
        found,
        wanted,
        rtol=max(tolerance, case.rtol),
        atol=max(case.atol, tolerance if tolerance > TOLERANCE else 0),
        equal_nan=True,
    )
    return None if near else f"it differs by {np.nanmax(np.abs(found - wanted))}"
