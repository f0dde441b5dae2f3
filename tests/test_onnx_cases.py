"""ONNX's own cases through the import: none gives a wrong value, most pass, all of PyTorch pass."""

import re
from collections import Counter

import pytest
from selection import missing

pytestmark = pytest.mark.extra("onnx")
if not missing(["onnx"]):
    from onnx_cases import cases, outcome

LEAST = 0.85
"""The share of ONNX's node cases that pass; of the 1,884 of onnx 1.23 they are 1,708."""


@pytest.fixture(scope="module")
def node_cases():
    return {case.name: outcome(case) for case in cases("node")}


def test_no_node_case_gives_a_wrong_value(node_cases):
    assert {name: why for name, (what, why) in node_cases.items() if what == "wrong"} == {}


def test_most_node_cases_pass(node_cases):
    counts = Counter(what for what, _ in node_cases.values())
    refused = [each.message for what, problems in node_cases.values() if what == "refused" for each in problems]
    missing_ops = Counter(re.sub(r": (\d+ node.*|\w+)$", "", message) for message in refused)
    assert counts["pass"] >= LEAST * len(node_cases), missing_ops.most_common()
    assert len(node_cases) < 1884 or counts["pass"] >= 1450, missing_ops.most_common()


@pytest.mark.parametrize("kind", ["pytorch-converted", "pytorch-operator"])
def test_all_cases_of_pytorch_pass(kind):
    found = {case.name: outcome(case) for case in cases(kind)}
    assert len(found) >= 30
    assert {name: each for name, each in found.items() if each[0] != "pass"} == {}
