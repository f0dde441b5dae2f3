"""The rules for dtypes of ops: every op has some, and they are what happens to the rows of samples."""

import warnings
from typing import Annotated, Literal

import numpy as np
import pytest
from pydantic import Field
from samples import SAMPLES
from test_laws import instance, results_of

import graphengine as ge
from graphengine.ir.dtypes import COMMON, FLOATS, dtype_rules
from graphengine.ir.nodes import infer
from graphengine.ops.body import Body
from graphengine.ops.registry import OPS
from graphengine.ops.shapes import dtype_name, type_of


def in_dtype(array, dtype):
    """An array of floating-point numbers in a dtype, any other one as it is."""
    return np.where(np.isfinite(array), array, 0).astype(dtype) if array.dtype.kind == "f" else array


def ruled(name, node, arrays, rules):
    """The outputs by the rules for such attributes and arrays, None if they have none; a number is as the first one."""
    signature = OPS[name].signature
    names = [signature.input_name(min(place, len(signature.inputs) - 1)) for place in range(len(arrays))]
    pairs = list(zip(names, (array.dtype.name for array in arrays), strict=True))
    fitting = [
        rule
        for rule in rules
        if all(rule.inputs[key] == dtype for key, dtype in pairs)
        and all(getattr(node, key) == value for key, value in rule.attributes.items())
    ]
    return max(fitting, key=lambda rule: len(rule.attributes)).outputs if fitting else None


def has_functions(name):
    return any(field.annotation is Body for field in OPS[name].cls.model_fields.values())


@pytest.mark.parametrize("name", [name for name in SAMPLES if not has_functions(name)])
def test_dtypes_are_reported_of_every_op_and_are_those_of_its_samples(name):
    rules = dtype_rules(OPS[name])
    assert rules
    matched = 0
    for attributes, arrays in SAMPLES[name]:
        mixed = any(array.dtype.kind != "f" for array in arrays)
        if any(array.dtype == np.uint8 for array in arrays):
            continue
        for dtype in FLOATS if mixed else COMMON:
            given = [in_dtype(array, dtype) for array in arrays]
            node = instance(name, attributes)
            reported = ruled(name, node, given, rules)
            try:
                inferred = infer(node, tuple(map(type_of, given)))
            except ValueError:
                assert reported is None, dtype
                continue
            assert reported is not None, dtype
            real = [dtype_name(type_of(result).dtype) for result in results_of(name, attributes, given)]
            expected = [node.dtype if isinstance(each, dict) else each for each in reported.values()]
            assert real[: len(expected)] == expected[: len(real)]
            assert [dtype_name(kind.dtype) for kind in inferred] == real
            matched += 1
    assert matched


class Chosen(ge.Node):
    """The values whose labels are chosen."""

    labels: str
    dtype: Literal["float32", "float64"] = "float32"

    def forward(self, x, y=None):
        return x[{"b": 1}[self.labels]].astype(self.dtype)


class Documented(Chosen):
    labels: Annotated[str, Field(examples=["b"])]


class Noisy(ge.Node):
    def forward(self, x, y):
        warnings.warn("so few numbers", stacklevel=2)
        return x * y, np.argsort(x)

    outputs = ("product", "order")


def rules_of(cls):
    ge.register("lesson.tried", replace=True)(cls)
    try:
        return dtype_rules(OPS["lesson.tried"])
    finally:
        OPS.remove("lesson.tried")


def test_an_example_of_an_attribute_helps_where_its_type_alone_does_not():
    assert rules_of(Chosen) == []
    (first, *_) = rules_of(Documented)
    assert first == ({"x": "float64", "y": "float64"}, {"out": {"attribute": "dtype"}}, {})


def test_a_class_of_a_user_is_tried_without_a_sound():
    assert rules_of(Noisy)[1] == (dict.fromkeys("xy", "float32"), {"product": "float32", "order": "int64"}, {})


def test_a_class_of_many_inputs_that_takes_nothing_is_given_up():
    class Refusing(ge.Node):
        def forward(self, a, b, c, d, e):
            raise ValueError("no")

    assert rules_of(Refusing) == []
