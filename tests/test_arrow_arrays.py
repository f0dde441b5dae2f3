"""Arrays of Arrow and NumPy: made of each other without pandas, they equal those that pyarrow makes."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from graphengine.data.arrow_arrays import as_arrow, as_numpy

DTYPES = ["bool", "int8", "uint8", "int16", "int32", "int64", "uint64", "float16", "float32", "float64"]


@given(st.data())
def test_vectors_become_the_arrays_that_pyarrow_makes_and_come_back(data):
    values = data.draw(arrays.arrays(st.sampled_from(DTYPES), st.integers(0, 40)))
    values = values[:: data.draw(st.integers(1, 3))]
    valid = data.draw(arrays.arrays(bool, len(values)))
    found = as_arrow(values)
    expected = pa.array(values)
    assert (found.type, len(found), found.null_count) == (expected.type, len(values), 0)
    assert as_numpy(found).tobytes() == as_numpy(expected).tobytes() == values.tobytes()
    start = data.draw(st.integers(0, len(values)))
    assert as_numpy(found.slice(start)).tobytes() == values[start:].tobytes()
    with_null = as_arrow(values, valid=valid)
    with_null.validate(full=True)
    assert with_null.is_valid().to_pylist() == valid.tolist()
    there = with_null.drop_null()
    assert as_numpy(there).tobytes() == values[valid].tobytes()


@pytest.mark.parametrize("values", [["a", None], np.array(["a", "b"]), np.array([0, 1], "datetime64[s]")])
def test_what_has_no_buffer_of_arrow_is_left_to_pyarrow(values):
    assert as_arrow(values).equals(pa.array(values))


def test_numbers_take_the_type_that_is_asked_for_if_it_holds_them():
    assert as_arrow(np.arange(3), pa.float64()).equals(pa.array([0.0, 1.0, 2.0]))
    with pytest.raises(pa.ArrowInvalid):
        as_arrow(np.array([0.5]), pa.int64())


@pytest.mark.parametrize(
    ("values", "kind", "error"),
    [(np.zeros((2, 2)), None, pa.ArrowInvalid), (np.arange(2), pa.string(), pa.ArrowTypeError)],
)
def test_what_pyarrow_refuses_is_refused(values, kind, error):
    with pytest.raises(error):
        as_arrow(values, kind)
