"""Recurrent layers over whole sequences, compared with PyTorch where it is installed and with loops in NumPy."""

import tracemalloc

import numpy as np
import pytest
from documents import document

import graphengine as ge
from graphengine.backends.numpy.plan import Plan
from graphengine.backends.reference.executor import Executor
from graphengine.transform.directional import curvature
from graphengine.transform.mode import in_training_mode, with_iteration

GATES = {"rnn": 1, "gru": 3, "lstm": 4}
N, T, F, H = 3, 6, 4, 5
IMPORTS = {"core": 1, "nn": 1}


def values_of(kind, generator):
    """Inputs and weights of a layer by name, with initial states that differ from zero."""
    gates = () if kind == "rnn" else (GATES[kind],)
    shapes = {
        "x": (N, T, F),
        "weight_ih": (*gates, F, H),
        "weight_hh": (*gates, H, H),
        "bias_ih": (*gates, H),
        "bias_hh": (*gates, H),
        "h0": (N, H),
    }
    if kind == "lstm":
        shapes["c0"] = (N, H)
    return {name: generator.normal(size=shape) for name, shape in shapes.items()}


def layer(kind, values, lengths=None, reverse=False, steps="T"):
    """A model that is one layer; its loss weighs all results by given numbers."""
    shapes = {name: list(np.shape(value)) for name, value in values.items()}
    shapes["x"] = ["N", steps, F]
    for name in ("h0", "c0"):
        if name in shapes:
            shapes[name] = ["N", H]
    if lengths is not None:
        shapes["lengths"] = {"shape": ["N"], "dtype": "int64"}
    outputs = ["sequence", "h", *["c"] * (kind == "lstm")]
    nodes = {"layer": (f"nn.{kind}", {name: name for name in shapes}, {"reverse": reverse})}
    for port in outputs:
        value = "layer" if port == "sequence" else f"layer:{port}"
        shapes[f"of_{port}"] = ["N", steps, H] if port == "sequence" else ["N", H]
        nodes |= {f"{port}_w": ("mul", [value, f"of_{port}"]), f"{port}_s": ("sum", [f"{port}_w"])}
    nodes["loss"] = ("add_n", [f"{port}_s" for port in outputs])
    named = {port: "layer" if port == "sequence" else f"layer:{port}" for port in outputs}
    results = {"loss": "loss", **{f"out_{port}": value for port, value in named.items()}}
    return ge.Model.from_dict(document(nodes, results, inputs=shapes, opset_imports=IMPORTS)), outputs


def weighted(outputs, generator, steps=T):
    return {f"of_{port}": generator.normal(size=(N, steps, H) if port == "sequence" else (N, H)) for port in outputs}


def by_steps(kind, values, lengths=None, reverse=False):
    """The same with a Python loop over the cell."""
    cell = getattr(ge.nn, f"{kind}_cell")
    weights = [values[name] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    states = [values["h0"], *([values["c0"]] if kind == "lstm" else [])]
    sequence = np.zeros((N, T, H))
    for step in range(T)[:: -1 if reverse else 1]:
        new = cell(values["x"][:, step], *states, *weights)
        new = new if isinstance(new, tuple) else (new,)
        has = np.full((N, 1), fill_value=True) if lengths is None else (step < np.asarray(lengths))[:, None]
        sequence[:, step] = np.where(has, new[0], 0)
        states = [np.where(has, one, old) for one, old in zip(new, states, strict=True)]
    return [sequence, *states]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [None, [6, 2, 4]])
@pytest.mark.parametrize("kind", GATES)
def test_a_layer_is_its_cell_in_each_step(kind, lengths, reverse):
    generator = np.random.default_rng(0)
    values = values_of(kind, generator)
    model, outputs = layer(kind, values, lengths, reverse)
    given = {**values, **weighted(outputs, generator), **({} if lengths is None else {"lengths": lengths})}
    for _ in range(2):  # by the reference and by the plan
        run = model.forward(given)
        for port, expected in zip(outputs, by_steps(kind, values, lengths, reverse), strict=True):
            np.testing.assert_allclose(run[f"out_{port}"], expected, rtol=1e-13, atol=1e-15)
    gradients = run.backward(of="loss", wrt=list(values))
    step = 1e-6
    for name, value in values.items():
        along = generator.normal(size=value.shape)
        sides = []
        for sign in (1, -1):
            shifted = by_steps(kind, {**values, name: value + sign * step * along}, lengths, reverse)
            sides.append(sum(np.sum(part * given[f"of_{port}"]) for port, part in zip(outputs, shifted, strict=True)))
        np.testing.assert_allclose(np.sum(gradients[name] * along), (sides[0] - sides[1]) / (2 * step), rtol=1e-6)


@pytest.mark.parametrize("kind", GATES)
def test_states_that_are_left_out_are_zeros(kind):
    generator = np.random.default_rng(1)
    values = values_of(kind, generator)
    zeros = {name: np.zeros((N, H)) for name in ("h0", "c0") if name in values}
    results = [getattr(ge.nn, kind)(**each) for each in ({**values, **zeros}, _without_states(values))]
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def _without_states(values):
    return {name: value for name, value in values.items() if name not in ("h0", "c0")}


def test_the_same_file_runs_any_number_of_steps():
    generator = np.random.default_rng(2)
    values = values_of("gru", generator)
    model, outputs = layer("gru", values)
    for steps in (0, 1, 20, 300):
        given = {**values, **weighted(outputs, generator, steps), "x": generator.normal(size=(N, steps, F))}
        found = [model.forward(given).backward(of="loss", wrt=["weight_hh", "h0"]) for _ in range(2)]
        for name, gradient in found[0].items():
            np.testing.assert_array_equal(gradient, found[1][name])
        assert model.forward(given)["out_sequence"].shape == (N, steps, H)


@pytest.mark.parametrize("kind", GATES)
def test_second_derivatives_are_the_slopes_of_first_ones(kind):
    generator = np.random.default_rng(3)
    values = values_of(kind, generator)
    model, outputs = layer(kind, values, steps=T)
    given = {**values, **weighted(outputs, generator)}
    along = {f"along_{name}": generator.normal(size=values[name].shape) for name in ("weight_hh", "x")}
    product = curvature(model.graph, "loss", ["weight_hh", "x"], list(along))
    found = Plan(product.with_sizes({"N": N})).run({**given, **along})
    step = 1e-5
    sides = []
    for sign in (1, -1):
        shifted = {name: values[name] + sign * step * along[f"along_{name}"] for name in ("weight_hh", "x")}
        sides.append(model.forward({**given, **shifted}).backward(of="loss", wrt=["weight_hh", "x"]))
    for value, name in zip(found.values(), ("weight_hh", "x"), strict=True):
        slope = (sides[0][name] - sides[1][name]) / (2 * step)
        np.testing.assert_allclose(value, slope, rtol=1e-6, atol=1e-7 * np.abs(slope).max())


def test_memory_of_a_training_grows_by_what_the_gradient_reads_of_each_step():
    generator, batch, width = np.random.default_rng(0), 16, 32
    shapes = {"weight_ih": (4, F, width), "weight_hh": (4, width, width), "bias_ih": (4, width), "bias_hh": (4, width)}
    nodes = {"lstm": ("nn.lstm", ["x", *shapes]), "squares": ("square", ["lstm:h"]), "loss": ("mean", ["squares"])}
    parameters = {name: generator.normal(size=shape).tolist() for name, shape in shapes.items()}
    settings = {"loss": "loss", "optimizer": {"type": "sgd", "learning_rate": 0.1}, "epochs": 1}
    model = ge.Model.from_dict(
        document(
            nodes,
            {"loss": "loss"},
            inputs={"x": ["N", "T", F]},
            parameters=parameters,
            opset_imports=IMPORTS,
            training=settings,
        )
    )

    def peak(steps):
        data = {"x": generator.normal(size=(batch, steps, F))}
        model.train(data)  # what is compiled once is compiled
        tracemalloc.start()
        try:
            model.train(data)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    saved = 7 * batch * width * 8  # four gates, the cell state, its tanh and the hidden state
    assert peak(150) - peak(50) < 1.5 * 100 * saved


def test_dropout_between_layers_draws_numbers_for_each_step_and_iteration_and_scales_the_gradient():
    nodes = {
        "below": ("nn.rnn", ["x", "a", "b", "u", "v"]),
        "kept": ("dropout", ["below"], {"p": 0.5}),
        "loss": ("sum", ["kept"]),
    }
    shapes = {"a": [F, H], "b": [H, H], "u": [H], "v": [H]}
    generator = np.random.default_rng(4)
    parameters = {
        name: {"shape": shape, "value": generator.normal(size=shape).tolist()} for name, shape in shapes.items()
    }
    content = document(
        nodes, {"kept": "kept"}, inputs={"x": ["N", "T", F]}, parameters=parameters, opset_imports=IMPORTS
    )
    graph = ge.Model.from_dict(content).graph
    values = {name: each.value for name, each in graph.parameters.items()}
    x = generator.normal(size=(N, 40, F))
    factors = {}
    for iteration in (1, 2):
        training = with_iteration(in_training_mode(graph), iteration, seed=7)
        executor = Executor(training)
        slots = executor.forward({**values, "x": x})
        below = graph.value_name("below")
        kept, given = (slots[executor.slot_of[name]] for name in ("kept", below))
        factors[iteration] = kept / given
        assert set(np.unique(factors[iteration].round(12))) == {0.0, 2.0}
        slope = executor.backward(slots, "loss", [below])[below]
        np.testing.assert_allclose(slope, factors[iteration], rtol=1e-12)
    assert (factors[1] != factors[2]).any()
    per_step = factors[1].swapaxes(0, 1).reshape(40, -1)
    assert len(np.unique(per_step, axis=0)) == 40  # no two steps drop the same values


# ---------------------------------------------------------------- PyTorch


def torch_layer(torch, kind, values):
    """PyTorch's layer with the weights of ours."""
    module = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[kind](F, H, batch_first=True)
    module = module.double()
    for ours, theirs in (("weight_ih", "weight_ih_l0"), ("weight_hh", "weight_hh_l0")):
        rows = np.swapaxes(values[ours], -1, -2).reshape(-1, np.shape(values[ours])[-2])
        getattr(module, theirs).data = torch.tensor(rows)
    for ours, theirs in (("bias_ih", "bias_ih_l0"), ("bias_hh", "bias_hh_l0")):
        getattr(module, theirs).data = torch.tensor(values[ours].ravel())
    return module


@pytest.mark.extra("torch")
@pytest.mark.parametrize("lengths", [None, [6, 4, 2]])
@pytest.mark.parametrize("kind", GATES)
def test_values_and_gradients_are_those_of_pytorch(kind, lengths):
    import torch

    generator = np.random.default_rng(4)
    values = values_of(kind, generator)
    model, outputs = layer(kind, values, lengths)
    given = {**values, **weighted(outputs, generator), **({} if lengths is None else {"lengths": lengths})}
    run = model.forward(given)
    module = torch_layer(torch, kind, values)
    x = torch.tensor(values["x"], requires_grad=True)
    states = [torch.tensor(values[name][None], requires_grad=True) for name in ("h0", "c0") if name in values]
    packed = x
    if lengths is not None:
        packed = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor(lengths), batch_first=True)
    sequence, last = module(packed, tuple(states) if kind == "lstm" else states[0])
    if lengths is not None:
        sequence, _ = torch.nn.utils.rnn.pad_packed_sequence(sequence, batch_first=True, total_length=T)
    expected = [sequence, *[each[0] for each in (last if kind == "lstm" else (last,))]]
    for port, result in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(run[f"out_{port}"], result.detach().numpy(), rtol=1e-12, atol=1e-13)
    parts = [(result * torch.tensor(given[f"of_{port}"])).sum() for port, result in zip(outputs, expected, strict=True)]
    sum(parts).backward()
    gradients = run.backward(of="loss", wrt=list(values))
    theirs = {
        "x": x.grad.numpy(),
        **{f"{name}0": state.grad[0].numpy() for name, state in zip("hc", states, strict=False)},
    }
    for name in ("weight_ih", "weight_hh"):
        rows = getattr(module, f"{name}_l0").grad.numpy()
        theirs[name] = np.swapaxes(rows.reshape(*values[name].shape[:-2], H, -1), -1, -2)
    for name in ("bias_ih", "bias_hh"):
        theirs[name] = getattr(module, f"{name}_l0").grad.numpy().reshape(values[name].shape)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, theirs[name], rtol=1e-12, atol=1e-12 * np.abs(theirs[name]).max())
