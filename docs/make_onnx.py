"""Make the ONNX files that the tests import: small models as PyTorch, Keras and scikit-learn's converter write them.

    pip install torch onnxscript scikit-learn skl2onnx keras
    python docs/make_onnx.py tests/onnx_models
    python docs/make_onnx.py tests/onnx_models keras

PyTorch has two exporters, by tracing (`legacy`) and by `torch.export` (`dynamo`). Keras exports with PyTorch as its
backend, by tracing. The files are kept in the repository, so that the tests need none of their makers.
"""

# ruff: noqa: D101, D102, D103 - each model is shown by its code

import os
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from skl2onnx import to_onnx
from sklearn import (
    cluster,
    datasets,
    decomposition,
    ensemble,
    linear_model,
    neural_network,
    pipeline,
    preprocessing,
    tree,
)
from torch import nn
from torch.nn import functional

OPSETS = {"legacy": 17, "dynamo": 18}
os.environ["KERAS_BACKEND"] = "torch"
UNTRACEABLE = {"transformer", "transformer_gelu"}
"""What the tracing exporter of PyTorch 2.13 fails on: it hands attention a tensor as `is_causal`."""


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        return functional.relu(x + self.second(functional.relu(self.norm(self.first(x)))))


class SqueezeExcite(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Linear(4, 2), nn.Linear(2, 4)

    def forward(self, x):
        weights = torch.sigmoid(self.up(functional.silu(self.down(x.mean(dim=(2, 3))))))
        return x * weights[:, :, None, None]


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x):
        q, k, v = self.qkv(x).reshape(x.shape[0], x.shape[1], 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        weights = torch.softmax(q @ k.transpose(-2, -1) / 2.0, dim=-1)
        return self.out((weights @ v).transpose(1, 2).reshape(x.shape[0], x.shape[1], 8))


class Recurrent(nn.Module):
    def __init__(self, kind, **options):
        super().__init__()
        self.layer, self.head = kind(3, 5, batch_first=True, **options), nn.LazyLinear(2)

    def forward(self, x):
        return self.head(self.layer(x)[0][:, -1])


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Embedding(11, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.table(x).mean(dim=1))


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ConvTranspose2d(4, 2, 2, stride=2)
        self.last = nn.Conv2d(3, 1, 1)

    def forward(self, x):
        return self.last(torch.cat([x, functional.relu(self.up(functional.leaky_relu(self.down(x))))], dim=1))


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function, self.layer = function, nn.Linear(6, 6)

    def forward(self, x):
        return self.function(self.layer(x))


def image(*layers):
    return nn.Sequential(*layers), torch.randn(2, 4, 8, 8)


def rows(*layers):
    return nn.Sequential(*layers), torch.randn(3, 6)


def function(of):
    return Function(of), torch.randn(3, 6)


def encoder(**options):
    return nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, **options)


TORCH = {
    "linear": lambda: rows(nn.Linear(6, 2)),
    "mlp_gelu": lambda: rows(nn.Linear(6, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 3), nn.Softmax(dim=-1)),
    "mlp_activations": lambda: rows(
        nn.Linear(6, 8),
        nn.ELU(),
        nn.Linear(8, 8),
        nn.SELU(),
        nn.Linear(8, 8),
        nn.Softplus(),
        nn.Linear(8, 2),
        nn.Mish(),
    ),
    "mlp_hard": lambda: rows(nn.Linear(6, 8), nn.Hardswish(), nn.Linear(8, 8), nn.Hardsigmoid(), nn.PReLU(), nn.CELU()),
    "mlp_norm": lambda: rows(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 2)),
    "log_softmax": lambda: rows(nn.Linear(6, 5), nn.LogSoftmax(dim=1)),
    "cnn": lambda: image(
        nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(54, 3)
    ),
    "cnn_average": lambda: image(nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1)),
    "depthwise": lambda: image(nn.Conv2d(4, 4, 3, groups=4, padding=1), nn.ReLU6(), nn.Conv2d(4, 8, 1)),
    "dilated": lambda: image(nn.Conv2d(4, 4, 3, dilation=2, padding=2, bias=False), nn.Sigmoid()),
    "group_norm": lambda: image(nn.Conv2d(4, 4, 3), nn.GroupNorm(2, 4)),
    "instance_norm": lambda: image(nn.Conv2d(4, 4, 3), nn.InstanceNorm2d(4, affine=True)),
    "pixel_shuffle": lambda: image(nn.Conv2d(4, 8, 1), nn.PixelShuffle(2)),
    "upsample_nearest": lambda: image(nn.Upsample(scale_factor=2), nn.Conv2d(4, 1, 1)),
    "upsample_bilinear": lambda: image(nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(4, 1, 1)),
    "reflection": lambda: image(nn.ReflectionPad2d(1), nn.Conv2d(4, 2, 3)),
    "residual": lambda: (Residual(), torch.randn(2, 4, 6, 6)),
    "squeeze_excite": lambda: (SqueezeExcite(), torch.randn(2, 4, 6, 6)),
    "unet": lambda: (UNet(), torch.randn(2, 1, 8, 8)),
    "conv1d": lambda: (nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.MaxPool1d(2)), torch.randn(2, 2, 12)),
    "conv3d": lambda: (nn.Sequential(nn.Conv3d(1, 2, 2), nn.ReLU(), nn.MaxPool3d(2)), torch.randn(2, 1, 5, 5, 5)),
    "attention": lambda: (Attention(), torch.randn(2, 5, 8)),
    "transformer": lambda: (encoder(), torch.randn(2, 5, 8)),
    "transformer_gelu": lambda: (encoder(activation="gelu", norm_first=True), torch.randn(2, 5, 8)),
    "lstm": lambda: (Recurrent(nn.LSTM), torch.randn(2, 4, 3)),
    "lstm_two": lambda: (Recurrent(nn.LSTM, num_layers=2, bidirectional=True), torch.randn(2, 4, 3)),
    "gru": lambda: (Recurrent(nn.GRU), torch.randn(2, 4, 3)),
    "rnn": lambda: (Recurrent(nn.RNN), torch.randn(2, 4, 3)),
    "words": lambda: (Words(), torch.randint(0, 11, (3, 7))),
    "einsum": lambda: function(lambda x: torch.einsum("ni,nj->nij", x, x)),
    "clamp": lambda: function(lambda x: torch.where(x > 0, x.clamp(max=0.5), x.abs().sqrt())),
    "statistics": lambda: function(lambda x: torch.stack([x.std(dim=1), x.var(dim=1), x.norm(dim=1), x.amax(dim=1)])),
    "running": lambda: function(lambda x: torch.cumsum(x, dim=1).flip(1)),
    "chunks": lambda: function(lambda x: torch.cat([part * 2 for part in x.chunk(3, dim=1)][::-1], dim=1)),
    "triangle": lambda: function(lambda x: torch.tril(x[:, :, None] * x[:, None, :])),
    "choice": lambda: function(lambda x: x.argmax(dim=1)),
    "top": lambda: function(lambda x: torch.topk(x, 2, dim=1).values),
    "logsumexp": lambda: function(lambda x: torch.logsumexp(x, dim=1) + x.prod(dim=1)),
    "gather": lambda: function(lambda x: torch.gather(x, 1, (x > 0).long())),
    "masked": lambda: function(lambda x: x.masked_fill(x < 0, -1.0).index_select(1, torch.tensor([0, 2]))),
}


def by_torch(folder):
    for name, make in TORCH.items():
        for exporter, opset in OPSETS.items():
            if exporter == "legacy" and name in UNTRACEABLE:
                continue
            torch.manual_seed(0)
            model, x = make()
            model(x)
            model.eval()
            path = folder / f"torch_{exporter}_{name}.onnx"
            options = {"input_names": ["x"], "output_names": ["y"], "opset_version": opset}
            if exporter == "legacy":
                torch.onnx.export(model, (x,), path, dynamo=False, dynamic_axes={"x": {0: "N"}}, **options)
            else:
                batch = torch.export.Dim("N", min=2, max=1000)
                program = torch.onnx.export(
                    model, (x,), dynamo=True, dynamic_shapes=({0: batch},), verbose=False, **options
                )
                program.save(path, external_data=False)
            strip(path)


def strip(path):
    """Leave out what names the machine: stack traces, and paths of the makers."""
    proto = onnx.load(path)
    inside = [proto.graph, *proto.functions]
    for part in inside:
        del part.metadata_props[:]
        part.doc_string = ""
        for each in [*part.node, *part.value_info]:
            each.doc_string = ""
            del each.metadata_props[:]
    for tensor in [*proto.graph.initializer, *proto.graph.input, *proto.graph.output]:
        tensor.doc_string = ""
        del tensor.metadata_props[:]
    del proto.metadata_props[:]
    onnx.save(proto, path)


def by_sklearn(folder):
    x, labels = datasets.load_iris(return_X_y=True)
    x = x.astype(np.float32)
    target = x[:, 3] + 0.1 * labels
    few = {"max_depth": 3, "random_state": 0}
    models = {
        "linear": linear_model.LinearRegression().fit(x, target),
        "logistic": linear_model.LogisticRegression(max_iter=1000).fit(x, labels),
        "logistic_two": linear_model.LogisticRegression().fit(x, labels > 0),
        "scaled_ridge": pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.Ridge()).fit(x, target),
        "min_max": preprocessing.MinMaxScaler().fit(x),
        "normalizer": preprocessing.Normalizer().fit(x),
        "polynomial": pipeline.make_pipeline(preprocessing.PolynomialFeatures(2), linear_model.Ridge()).fit(x, target),
        "pca": decomposition.PCA(2).fit(x),
        "mlp": neural_network.MLPRegressor(hidden_layer_sizes=(5,), max_iter=2000, random_state=0).fit(x, target),
        "mlp_classes": neural_network.MLPClassifier(hidden_layer_sizes=(5,), max_iter=2000, random_state=0).fit(
            x, labels
        ),
        "tree": tree.DecisionTreeRegressor(**few).fit(x, target),
        "tree_classes": tree.DecisionTreeClassifier(**few).fit(x, labels),
        "forest": ensemble.RandomForestRegressor(5, **few).fit(x, target),
        "forest_classes": ensemble.RandomForestClassifier(5, **few).fit(x, labels),
        "boosting": ensemble.GradientBoostingRegressor(n_estimators=5, random_state=0).fit(x, target),
        "boosting_classes": ensemble.GradientBoostingClassifier(n_estimators=4, random_state=0).fit(x, labels),
        "k_means": cluster.KMeans(3, random_state=0, n_init=2).fit(x),
    }
    for name, model in models.items():
        options = {"zipmap": False} if hasattr(model, "predict_proba") else None
        proto = to_onnx(model, x[:1], target_opset=18, options=options)
        (folder / f"sklearn_{name}.onnx").write_bytes(proto.SerializeToString())


def keras_models(layers):
    """Return the shape of the input and the layers of each model; layers with a layer norm fail in the exporter."""
    return {
        "mlp": ((6,), [layers.Dense(8, "relu"), layers.Dropout(0.5), layers.Dense(3, "softmax")]),
        "norm": ((6,), [layers.Dense(8, "gelu"), layers.BatchNormalization(), layers.Dense(2, "elu")]),
        "scaled": ((6,), [layers.Rescaling(0.1, -1.0), layers.Dense(4, "hard_sigmoid"), layers.Dense(2, "softplus")]),
        "cnn": (
            (8, 8, 3),
            [layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D(), layers.Flatten(), layers.Dense(3)],
        ),
        "strided": (
            (9, 9, 2),
            [
                layers.Conv2D(4, 3, 2, "same", activation="leaky_relu"),
                layers.AveragePooling2D(2, padding="same"),
                layers.GlobalMaxPooling2D(),
            ],
        ),
        "separable": (
            (8, 8, 3),
            [layers.SeparableConv2D(4, 3, padding="same"), layers.DepthwiseConv2D(3), layers.GlobalAveragePooling2D()],
        ),
        "transpose": ((4, 4, 2), [layers.Conv2DTranspose(3, 3, 2, "same"), layers.UpSampling2D(2)]),
        "causal": ((12, 3), [layers.Conv1D(4, 3, padding="causal", activation="tanh"), layers.MaxPooling1D(2)]),
        "lstm": ((4, 3), [layers.LSTM(5), layers.Dense(2)]),
        "bidirectional": (
            (4, 3),
            [layers.Bidirectional(layers.LSTM(3, return_sequences=True)), layers.TimeDistributed(layers.Dense(2))],
        ),
        "gru": ((4, 3), [layers.GRU(5), layers.Dense(2)]),
        "words": ((7,), [layers.Embedding(11, 6), layers.GlobalAveragePooling1D(), layers.Dense(3)]),
    }


def by_keras(folder):
    import keras

    for name, (shape, parts) in keras_models(keras.layers).items():
        keras.utils.set_random_seed(0)
        dtype = "int64" if name == "words" else "float32"
        model = keras.Sequential([keras.Input(shape, dtype=dtype, name="x"), *parts])
        model.predict(np.zeros((2, *shape), dtype), verbose=0)  # the exporter wants a model that was called
        path = folder / f"keras_{name}.onnx"
        model.export(path, format="onnx", verbose=False)
        strip(path)


def main(folder, makers):
    folder.mkdir(exist_ok=True)
    warnings.simplefilter("ignore")
    for maker in makers or ["torch", "sklearn", "keras"]:
        {"torch": by_torch, "sklearn": by_sklearn, "keras": by_keras}[maker](folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
