"""Files changed at random: whatever they say, only errors of this package come out, with documented codes."""

import random

import pytest
from fuzzing import mutations, seeds, target
from hypothesis import given, settings
from hypothesis import strategies as st

DOCUMENTS = seeds.documents()
quickly = settings(deadline=None, max_examples=2 * settings.default.max_examples, derandomize=True, database=None)


@pytest.mark.parametrize("content", seeds.whole_documents(), ids=lambda content: content["name"])
def test_the_files_that_are_changed_are_good(content):
    assert target.run(mutations.written(content)) in ("end", "train")  # some have no data to train on


@quickly
@given(st.integers(0, 2**32))
def test_a_changed_file_runs_or_is_refused(seed):
    target.run(mutations.mutated(DOCUMENTS, random.Random(seed)))


@quickly
@given(st.binary(max_size=200))
def test_bytes_are_refused(data):
    assert target.run(data) == "load"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["format", "nodes", "x"]), inner),
    max_leaves=10,
)


@quickly
@given(st.sampled_from(["inputs", "parameters", "nodes", "outputs", "data", "training", "functions", "state"]), JSON)
def test_any_json_in_a_section_runs_or_is_refused(section, value):
    target.run(mutations.written({**DOCUMENTS[0], section: value}))
