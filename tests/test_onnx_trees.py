"""Ensembles of trees from ONNX: each comparison, each aggregate and missing values, against onnxruntime and by hand."""

import itertools
import operator

import numpy as np
import pytest
from selection import missing

pytestmark = pytest.mark.extra("onnx", "onnxruntime")
if not missing(["onnx", "onnxruntime"]):
    import onnxruntime
    from onnx import TensorProto, helper

    from graphengine.model.onnx_files import from_proto

MODES = {
    "BRANCH_LEQ": operator.le,
    "BRANCH_LT": operator.lt,
    "BRANCH_GTE": operator.ge,
    "BRANCH_GT": operator.gt,
    "BRANCH_EQ": operator.eq,
    "BRANCH_NEQ": operator.ne,
}
NUMBERS = {mode: number for number, mode in enumerate(MODES)}
AGGREGATES = {"SUM": np.sum, "AVERAGE": np.mean, "MIN": np.min, "MAX": np.max}
THRESHOLDS = [[0.5, 0.1, 0.9], [0.25, 0.5, 0.75], [1.0, 0.0, 0.5]]
"""Of the root and its two children, for each tree; they compare features 0, 1 and 0."""
FEATURES = [0, 1, 0]
LEAVES = np.array([[[3, -1], [5, 2], [-7, 4], [11, 8]], [[2, 1], [-3, 6], [13, -2], [1, 1]], [[4, 9]] * 4], float)
"""For each tree the weights of four leaves, from the left, for two targets."""
GRID = np.array(list(itertools.product([-1, 0, 0.1, 0.25, 0.3, 0.5, 0.75, 0.9, 1, 2], repeat=2)), np.float32)


def nodes():
    """The nodes of each tree: 0 has the children 1 and 2, 1 has the leaves 3 and 4, 2 has 5 and 6."""
    for tree, thresholds in enumerate(THRESHOLDS):
        for node in range(7):
            is_leaf = node > 2
            children = (0, 0) if is_leaf else (2 * node + 1, 2 * node + 2)
            yield tree, node, children, (0, 0.0) if is_leaf else (FEATURES[node], np.float32(thresholds[node])), is_leaf


def ensemble(mode, aggregate, tracks=0):
    """A TreeEnsembleRegressor of three trees with one comparison everywhere."""
    trees, ids, children, compared, leaf = zip(*nodes(), strict=True)
    placed = [(tree, 3 + leaf, target) for tree in range(3) for leaf in range(4) for target in range(2)]
    node = helper.make_node(
        "TreeEnsembleRegressor",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        n_targets=2,
        aggregate_function=aggregate,
        nodes_treeids=trees,
        nodes_nodeids=ids,
        nodes_featureids=[each for each, _ in compared],
        nodes_values=[each for _, each in compared],
        nodes_modes=["LEAF" if each else mode for each in leaf],
        nodes_truenodeids=[each for each, _ in children],
        nodes_falsenodeids=[each for _, each in children],
        nodes_missing_value_tracks_true=[tracks] * len(trees),
        target_treeids=[tree for tree, _, _ in placed],
        target_nodeids=[node for _, node, _ in placed],
        target_ids=[target for _, _, target in placed],
        target_weights=[LEAVES[tree, node - 3, target] for tree, node, target in placed],
    )
    return model_of(node, [2], 3)


def model_of(node, width, opset):
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", *width])]
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", opset)]
    return helper.make_model(helper.make_graph([node], "trees", inputs, outputs), opset_imports=opsets, ir_version=10)


def by_hand(x, mode, aggregate, tracks=0):
    """The result for one row, one tree after the other."""
    found = []
    for thresholds, leaves in zip(THRESHOLDS, LEAVES, strict=True):
        node = 0
        while node < 3:
            value = x[FEATURES[node]]
            is_true = bool(tracks) if np.isnan(value) else MODES[mode](value, np.float32(thresholds[node]))
            if np.isnan(value) and not tracks:
                is_true = mode == "BRANCH_NEQ"
            node = 2 * node + (1 if is_true else 2)
        found.append(leaves[node - 3])
    return AGGREGATES[aggregate](found, axis=0)


def in_runtime(proto, x):
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def test_each_comparison_and_each_aggregate_gives_another_result():
    results = {
        (mode, aggregate): np.array([by_hand(x, mode, aggregate) for x in GRID])
        for mode in MODES
        for aggregate in AGGREGATES
    }
    for one, other in itertools.combinations(results, 2):
        assert not np.allclose(results[one], results[other]), (one, other)


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("mode", MODES)
def test_trees_compare_and_aggregate_as_in_onnxruntime(mode, aggregate):
    proto = ensemble(mode, aggregate)
    found = from_proto(proto).predict(x=GRID)["y"]
    np.testing.assert_allclose(found, [by_hand(x, mode, aggregate) for x in GRID], rtol=1e-6)
    np.testing.assert_allclose(found, in_runtime(proto, GRID), rtol=1e-6)


@pytest.mark.parametrize("tracks", [0, 1])
@pytest.mark.parametrize("mode", MODES)
def test_missing_values_take_the_branch_that_the_tree_names(mode, tracks):
    x = np.where(np.arange(len(GRID))[:, None] % [2, 3] == 0, np.float32(np.nan), GRID)
    found = from_proto(ensemble(mode, "SUM", tracks)).predict(x=x)["y"]
    np.testing.assert_allclose(found, [by_hand(row, mode, "SUM", tracks) for row in x], rtol=1e-6)


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("mode", MODES)
def test_the_newer_op_means_the_same(mode, aggregate):
    inner = [(tree, node) for tree in range(3) for node in range(3)]
    leaves = [(tree, leaf, target) for target in range(2) for tree in range(3) for leaf in range(4)]
    for target in range(2):  # a leaf of the newer op has one target
        weights = [LEAVES[tree, leaf, target] for tree, leaf, each in leaves if each == target]
        node = helper.make_node(
            "TreeEnsemble",
            ["x"],
            ["y"],
            domain="ai.onnx.ml",
            n_targets=1,
            aggregate_function=list({"AVERAGE": 0, "SUM": 1, "MIN": 2, "MAX": 3}).index(aggregate),
            tree_roots=[0, 3, 6],
            nodes_featureids=[FEATURES[node] for _, node in inner],
            nodes_splits=tensor([THRESHOLDS[tree][node] for tree, node in inner]),
            nodes_modes=helper.make_tensor("modes", TensorProto.UINT8, [9], [NUMBERS[mode]] * 9),
            nodes_truenodeids=[each for tree in range(3) for each in (3 * tree + 1, 4 * tree, 4 * tree + 2)],
            nodes_falsenodeids=[each for tree in range(3) for each in (3 * tree + 2, 4 * tree + 1, 4 * tree + 3)],
            nodes_trueleafs=[0, 1, 1] * 3,
            nodes_falseleafs=[0, 1, 1] * 3,
            leaf_targetids=[0] * 12,
            leaf_weights=tensor(weights),
        )
        proto = model_of(node, [1], 5)
        found = from_proto(proto).predict(x=GRID)["y"]
        wanted = [by_hand(x, mode, aggregate)[target] for x in GRID]
        np.testing.assert_allclose(found[:, 0], wanted, rtol=1e-6)
        np.testing.assert_allclose(found, in_runtime(proto, GRID), rtol=1e-6)


def tensor(values):
    return helper.make_tensor("values", TensorProto.FLOAT, [len(values)], np.asarray(values, np.float32))


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_targets_for_which_a_leaf_has_no_weight_do_not_count(aggregate):
    """The leaves of the first tree speak of target 0 alone, those of the others of target 1."""
    proto = ensemble("BRANCH_LEQ", aggregate)
    attributes = {each.name: each for each in proto.graph.node[0].attribute}
    names = [f"target_{part}" for part in ("treeids", "nodeids", "ids", "weights")]
    fields = ["floats" if each.endswith("weights") else "ints" for each in names]
    columns = [list(getattr(attributes[name], field)) for name, field in zip(names, fields, strict=True)]
    kept = [row for row in zip(*columns, strict=True) if (row[0] == 0) == (row[2] == 0)]
    for name, field, column in zip(names, fields, zip(*kept, strict=True), strict=True):
        del getattr(attributes[name], field)[:]
        getattr(attributes[name], field).extend(column)
    np.testing.assert_allclose(from_proto(proto).predict(x=GRID)["y"], in_runtime(proto, GRID), rtol=1e-6)


def test_weights_of_leaves_are_the_only_parameters():
    model = from_proto(ensemble("BRANCH_LEQ", "SUM"))
    assert [name for name, each in model.document.parameters.items() if each.trainable] == ["y.leaves"]
    before = model.predict(x=GRID)["y"]
    model.parameters["y.leaves"] = model.parameters["y.leaves"] + np.float32(1)
    np.testing.assert_allclose(model.predict(x=GRID)["y"], before + 3, rtol=1e-6)
