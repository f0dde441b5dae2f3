"""The layers of convolutional and recurrent drafts, which draw their own starts."""

from __future__ import annotations

import math

from graphengine.drafting.parts import Parts

FILTERS = 16
"""Filters of a convolution over the columns of a table."""
HIDDEN = 8
"""Numbers in the memory of a recurrent network."""


def image_features(parts: Parts, pixels: str, count: int) -> str:
    """Add a convolution of square images of `count` pixels, pooled over 2 x 2 places; returns a row for each image."""
    side = math.isqrt(count)
    channel = parts.node("channel", "reshape", [pixels], "square images of one color", shape=[-1, 1, side, side])
    maps = convolution(parts, channel, FILTERS)
    if side == 1:
        return parts.node("features", "reshape", [maps], "a number for each filter", shape=[-1, FILTERS])
    pooled = parts.node("pooled", "max_pool2d", [maps], "the strongest in each square of 2 x 2 places", kernel_size=2)
    width = FILTERS * (side // 2) ** 2
    return parts.node("features", "reshape", [pooled], "all of them side by side", shape=[-1, width])


def convolution(parts: Parts, channel: str, filters: int) -> str:
    """Add a convolution of images of one color by filters of 3 x 3 pixels."""
    what = "patterns of 3 x 3 pixels to detect"
    kernels = parts.weights("filters", [filters, 1, 3, 3], what, "he_normal")
    bias = parts.weights("filter_bias", [filters], "one number for each filter")
    parts.node("maps", "conv2d", [channel, kernels, bias], "where each pattern is", padding=1)
    return parts.node("active", "relu", ["maps"], "only where a pattern is found")


def series_memory(parts: Parts, series: str) -> str:
    """Add a long short-term memory over series of one number a step; returns its state after the last step."""
    cell = [
        parts.weights("weight_ih", [4, 1, HIDDEN], "what a number does to each gate", "glorot_uniform"),
        parts.weights("weight_hh", [4, HIDDEN, HIDDEN], "what the memory does to each gate", "glorot_uniform"),
        parts.weights("bias_ih", [4, HIDDEN], "of each gate"),
        parts.weights("bias_hh", [4, HIDDEN], "of each gate, from the memory"),
    ]
    parts.node("column", "expand_dims", [series], "each step has one number", axis=2)
    states = [parts.weights(f"start_{state}", [HIDDEN], "the memory before the first number") for state in "hc"]
    parts.node("lstm", "nn.lstm", ["column", *cell, *states], "from number to number")
    return "lstm:h"
