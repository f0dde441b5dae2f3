"""Exported graphs in ONNX's own reference evaluator, which shares no code with onnxruntime: a second oracle."""

import numpy as np
import pytest
from selection import missing
from test_onnx import MODELS, TRAINED, assert_near, batch_of, converted, expected, moved

import graphengine as ge
from graphengine.format.initializers import initial_value

pytestmark = pytest.mark.extra("onnx")
if not missing(["onnx"]):
    from onnx import NodeProto
    from onnx.reference import ReferenceEvaluator
    from onnx.reference.ops.op_scan import Scan as ForwardScan

    from graphengine.model.onnx_files import onnx_proto

    class Scan(ForwardScan):
        """Scan along any axis and in both directions; the evaluator's own has the first axis alone, forward."""

        op_domain = ""

        def __init__(self, node, run_params):
            self.moves = {each.name: list(each.ints) for each in node.attribute if each.name.startswith("scan_")}
            plain = NodeProto()
            plain.CopyFrom(node)
            del plain.attribute[:]
            plain.attribute.extend(each for each in node.attribute if not each.name.startswith("scan_"))
            super().__init__(plain, run_params)

        def _run(self, *args, **options):
            first = len(args) - self.num_scan_inputs
            whole = [
                each[:: -1 if back else 1]
                for each, back in zip(
                    map(np.moveaxis, args[first:], self.of("input_axes", args), [0] * len(args)),
                    self.of("input_directions", args),
                    strict=False,
                )
            ]
            found = super()._run(*args[:first], *whole, **options)
            stacked = [
                np.moveaxis(each[:: -1 if back else 1], 0, axis)
                for each, back, axis in zip(
                    found[first:], self.of("output_directions", found), self.of("output_axes", found), strict=False
                )
            ]
            return (*found[:first], *stacked)

        def of(self, name, values):
            """What an attribute is for each value, 0 where it is omitted."""
            return self.moves.get(f"scan_{name}") or [0] * len(values)


def assert_evaluated(proto, given, wanted, tolerance):
    evaluator = ReferenceEvaluator(proto, new_ops=[Scan])
    with np.errstate(all="ignore"):  # of branches that are not taken
        found = evaluator.run(None, {name: value for name, value in given.items() if name in evaluator.input_names})
    assert_near(dict(zip(evaluator.output_names, map(np.asarray, found), strict=True)), wanted, tolerance)


@pytest.mark.parametrize("kind", ["forward", "gradient"])
@pytest.mark.parametrize("name", MODELS)
def test_shipped_models_give_the_same_in_the_reference_evaluator(name, kind):
    model, batch = moved(name), converted(batch_of(ge.load(name)), "float64")
    graph = model.graph if kind == "forward" else model.gradient()
    assert_evaluated(onnx_proto(model, graph=kind), batch, expected(graph, {**model.values, **batch}), 1e-12)


@pytest.mark.parametrize("name", TRAINED)
def test_steps_give_the_same_in_the_reference_evaluator(name):
    model = ge.load(name)
    model.initialize()
    step = model.training_step()
    proto = onnx_proto(model, graph="step", defaults=False)
    scalars = {"learning_rate": np.array(0.01), "iteration": np.array(1.0)}
    sources = {**step.graph.parameters, **step.graph.state}
    begun = {source: np.asarray(initial_value(source, each)) for source, each in sources.items()}
    given = {**begun, **converted(batch_of(model), "float64"), **scalars}
    assert_evaluated(proto, given, expected(step.graph, given), 1e-12)
