"""Attention, positions and masks for sequences of any length, compared with PyTorch and with formulas in NumPy."""

import numpy as np
import pytest
from documents import document

import graphengine as ge

IMPORTS = {"core": 1, "nn": 1}
N, E, HEADS, HIDDEN = 3, 8, 2, 12
SIZES = {"heads": HEADS, "head_size": E // HEADS}
LENGTHS = np.array([7, 4, 5])


def weights_of(names, generator):
    shapes = {
        "weight_in": (E, 3 * E),
        "bias_in": (3 * E,),
        "weight_out": (E, E),
        "weight_up": (E, HIDDEN),
        "bias_up": (HIDDEN,),
        "weight_down": (HIDDEN, E),
    }
    return {name: generator.normal(size=shapes.get(name, (E,))) for name in names}


ATTENTION = ("weight_in", "bias_in", "weight_out", "bias_out")
BLOCK = (*ATTENTION, "weight_up", "bias_up", "weight_down", "bias_down", "scale1", "shift1", "scale2", "shift2")
CASES = {"all": (False, False), "causal": (True, False), "padded": (False, True), "both": (True, True)}


def layer(op, names, *, padded, **attributes):
    """A model of one layer whose loss weighs each of its results; padded steps do not count."""
    inputs = {"x": ["N", "T", E], "w": ["N", "T", E], "lengths": {"shape": ["N"], "dtype": "int64"}}
    nodes = {
        "mask": ("nn.length_mask", ["x", "lengths"]),
        "keys": ("expand_dims", ["mask"], {"axis": [1, 2]}),
        "z": (op, {name: name for name in ("x", *names)} | ({"mask": "keys"} if padded else {}), attributes),
        "weighted": ("mul", ["z", "w"]),
        "loss": ("sum", ["weighted"]),
    }
    inputs |= {name: list(value.shape) for name, value in weights_of(names, np.random.default_rng(0)).items()}
    return ge.Model.from_dict(document(nodes, {"z": "z", "loss": "loss"}, inputs=inputs, opset_imports=IMPORTS))


def given_to(names, steps, generator, *, padded):
    values = weights_of(names, generator) | {name: generator.normal(size=(N, steps, E)) for name in ("x", "w")}
    if padded:
        values["w"] *= (np.arange(steps) < LENGTHS[:, None])[..., None]
    return values | {"lengths": LENGTHS}


def torch_attention(torch, values):
    module = torch.nn.MultiheadAttention(E, HEADS, batch_first=True).double()
    set_attention(torch, module, values)
    return module


def set_attention(torch, module, values):
    module.in_proj_weight.data = torch.tensor(values["weight_in"].T.copy())
    module.in_proj_bias.data = torch.tensor(values["bias_in"])
    module.out_proj.weight.data = torch.tensor(values["weight_out"].T.copy())
    module.out_proj.bias.data = torch.tensor(values["bias_out"])


def torch_block(torch, values):
    module = torch.nn.TransformerEncoderLayer(
        E, HEADS, HIDDEN, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    ).double()
    set_attention(torch, module.self_attn, values)
    for part, weight, bias in (
        (module.linear1, values["weight_up"].T.copy(), "bias_up"),
        (module.linear2, values["weight_down"].T.copy(), "bias_down"),
        (module.norm1, values["scale1"], "shift1"),
        (module.norm2, values["scale2"], "shift2"),
    ):
        part.weight.data, part.bias.data = torch.tensor(weight), torch.tensor(values[bias])
    return module


def masks(torch, steps, *, causal, padded):
    """PyTorch's masks, which are true where a key is not seen."""
    later = torch.triu(torch.ones(steps, steps, dtype=torch.bool), 1) if causal else None
    absent = torch.tensor(np.arange(steps) >= LENGTHS[:, None]) if padded else None
    return later, absent


@pytest.mark.extra("torch")
@pytest.mark.parametrize("case", CASES)
def test_attention_of_any_length_is_that_of_pytorch(case):
    import torch

    causal, padded = CASES[case]
    model = layer("nn.attention", ATTENTION, padded=padded, causal=causal, **SIZES)
    for steps in (7, 9):
        values = given_to(ATTENTION, steps, np.random.default_rng(steps), padded=padded)
        module, x = torch_attention(torch, values), torch.tensor(values["x"], requires_grad=True)
        later, absent = masks(torch, steps, causal=causal, padded=padded)
        z, _ = module(x, x, x, attn_mask=later, key_padding_mask=absent, need_weights=False)
        (z * torch.tensor(values["w"])).sum().backward()
        run = model.forward(values)
        assert_close(run["z"], z)
        found = run.backward(of="loss", wrt=["x", *ATTENTION])
        assert_close(found["x"], x.grad)
        assert_close(found["weight_in"], module.in_proj_weight.grad.T)
        assert_close(found["bias_in"], module.in_proj_bias.grad)
        assert_close(found["weight_out"], module.out_proj.weight.grad.T)


@pytest.mark.extra("torch")
@pytest.mark.parametrize("case", CASES)
def test_a_transformer_block_of_any_length_is_that_of_pytorch(case):
    import torch

    causal, padded = CASES[case]
    model = layer("nn.transformer_block", BLOCK, padded=padded, causal=causal, **SIZES)
    for steps in (7, 9):
        values = given_to(BLOCK, steps, np.random.default_rng(steps), padded=padded)
        module, x = torch_block(torch, values), torch.tensor(values["x"], requires_grad=True)
        later, absent = masks(torch, steps, causal=causal, padded=padded)
        z = module(x, src_mask=later, src_key_padding_mask=absent)
        (z * torch.tensor(values["w"])).sum().backward()
        run = model.forward(values)
        assert_close(run["z"], z)
        found = run.backward(of="loss", wrt=["x", *BLOCK])
        assert_close(found["x"], x.grad)
        assert_close(found["weight_in"], module.self_attn.in_proj_weight.grad.T)
        assert_close(found["weight_up"], module.linear1.weight.grad.T)
        assert_close(found["bias_down"], module.linear2.bias.grad)
        assert_close(found["scale1"], module.norm1.weight.grad)
        assert_close(found["shift2"], module.norm2.bias.grad)


def assert_close(found, tensor):
    expected = tensor.detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12 * np.abs(expected).max())


def test_a_call_makes_the_parameters_of_a_block_and_trains_them():
    nodes = {
        "placed": ("nn.sinusoidal_positions", ["x"]),
        "block": ("nn.transformer_block", ["placed"], {"hidden": 16, "causal": True, "dropout": 0.1, **SIZES}),
        "y": ("nn.dense", ["block"], {"units": 1}),
        "last": ("gather", ["y", -1], {"axis": 1}),
        "loss": ("mse", ["last", "target"]),
    }
    inputs = {"x": ["N", "T", E], "target": ["N", 1]}
    settings = {"loss": "loss", "optimizer": {"type": "adam", "learning_rate": 0.01}, "epochs": 40}
    content = document(nodes, {"loss": "loss"}, inputs=inputs, opset_imports=IMPORTS, training=settings)
    model = ge.Model.from_dict(content)
    assert {name.partition("/")[2] for name in model.parameters if name.startswith("block/")} == set(BLOCK)
    x = np.random.default_rng(1).normal(size=(32, 5, E))
    losses = model.train({"x": x, "target": x[:, 0, :1]}).losses
    assert losses[-1] < losses[0] / 4


def test_a_causal_block_sees_no_later_step():
    values = given_to(BLOCK, 9, np.random.default_rng(2), padded=False)
    model = layer("nn.transformer_block", BLOCK, padded=False, causal=True, **SIZES)
    whole = model.forward(values)["z"]
    short = model.forward({**values, "x": values["x"][:, :4], "w": values["w"][:, :4]})["z"]
    np.testing.assert_allclose(short, whole[:, :4], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_sinusoidal_positions_are_their_formula_at_any_length(dtype):
    content = document(
        {"z": ("nn.sinusoidal_positions", ["x"], {"dtype": dtype})},
        inputs={"x": {"shape": ["N", "T", 5], "dtype": dtype}},
        opset_imports=IMPORTS,
    )
    model = ge.Model.from_dict(content)
    for steps in (1, 12):
        expected = np.zeros((steps, 5))
        for t, place in np.ndindex(expected.shape):
            angle = t / 10000 ** (2 * (place // 2) / 5)
            expected[t, place] = np.cos(angle) if place % 2 else np.sin(angle)
        found = model.predict(x=np.zeros((2, steps, 5), dtype))["out"]
        assert found.dtype == dtype
        np.testing.assert_allclose(found, [expected] * 2, rtol=1e-12 if dtype == "float64" else 1e-6, atol=1e-12)


def test_learned_positions_are_rows_of_a_table_that_gets_their_gradient():
    nodes = {"z": ("nn.learned_positions", ["x"], {"most": 6}), "s": ("square", ["z"]), "loss": ("sum", ["s"])}
    model = ge.Model.from_dict(
        document(nodes, {"z": "z", "loss": "loss"}, inputs={"x": ["N", "T", 2]}, opset_imports=IMPORTS)
    )
    table, x = model.parameters["z/table"], np.arange(16.0).reshape(2, 4, 2)
    run = model.forward(x=x)
    np.testing.assert_array_equal(run["z"], x + table[:4])
    slope = run.backward(of="loss")["z/table"]
    np.testing.assert_allclose(slope[:4], 2 * (x + table[:4]).sum(axis=0))
    assert not slope[4:].any()
    with pytest.raises(ge.errors.GraphEngineError, match="out of bounds"):
        model.predict(x=np.zeros((1, 7, 2)))


def test_a_masked_mean_is_that_of_the_steps_there_are_and_ignores_the_others():
    nodes = {
        "mask": ("nn.length_mask", ["y", "lengths"]),
        "error": ("sub", ["y", "target"]),
        "squares": ("square", ["error"]),
        "loss": ("nn.masked_mean", ["squares", "mask"]),
    }
    inputs = {"y": ["N", "T"], "target": ["N", "T"], "lengths": {"shape": ["N"], "dtype": "int64"}}
    model = ge.Model.from_dict(document(nodes, {"loss": "loss"}, inputs=inputs, opset_imports=IMPORTS))
    generator = np.random.default_rng(3)
    y, target = generator.normal(size=(2, N, 7))
    there = np.arange(7) < LENGTHS[:, None]
    run = model.forward(y=y, target=np.where(there, target, 1e9), lengths=LENGTHS)
    errors = (y - target)[there]
    np.testing.assert_allclose(run["loss"], np.mean(errors**2), rtol=1e-14)
    slope = np.where(there, 2 * (y - target) / len(errors), 0)
    np.testing.assert_allclose(run.backward(of="loss", wrt=["y"])["y"], slope, rtol=1e-13)
