"""Windows, feature maps and their sizes against NumPy and SciPy; what cannot be shown is said."""

import numpy as np
import pytest
import torch
from explained import CNNS, MLPS, digits, network
from scipy.signal import correlate2d

from digitnet.errors import UsageError
from digitnet.explain.image.convolution import (
    choose_convolution,
    compare_windows,
    convolution_names,
    read_convolution,
    slide_size,
)
from digitnet.explain.trace import trace

LAYERS = [(name, layer) for name in CNNS for layer in convolution_names(network(name))]


def opened(name, layer):
    model = network(name)
    return read_convolution(model, trace(model, digits(1)[0][0]), layer)


@pytest.mark.parametrize(("name", "layer"), LAYERS)
def test_each_window_sums_to_its_pixel_of_the_map(name, layer):
    conv = opened(name, layer)
    kernel = len(conv.kernels) - 1
    padded = np.pad(conv.inputs.numpy(), ((0, 0), *[(conv.padding, conv.padding)] * 2))
    for row in range(conv.maps.shape[1]):
        for column in range(conv.maps.shape[2]):
            window = conv.window(kernel, row, column)
            side = conv.kernels.shape[2]
            covered = padded[:, window.top : window.top + side, window.left : window.left + side]
            assert (window.top, window.left) == (row * conv.stride, column * conv.stride)
            assert np.array_equal(window.covered, covered)
            assert np.array_equal(window.products, covered * conv.kernels[kernel].numpy())
            assert window.total == pytest.approx(conv.maps[kernel, row, column].item(), abs=1e-4)


@pytest.mark.parametrize(("name", "layer"), LAYERS)
def test_padding_and_stride_are_scipys(name, layer):
    conv = opened(name, layer)
    variants = compare_windows(conv, 0)
    half = conv.kernels.shape[2] // 2
    assert [(v.padding, v.stride) for v in variants] == [(half, 1), (half, 2), (0, 1), (0, 2)]
    inputs, kernel = conv.inputs.double().numpy(), conv.kernels[0].double().numpy()
    for v in variants:
        padded = np.pad(inputs, ((0, 0), (v.padding, v.padding), (v.padding, v.padding)))
        if min(padded.shape[1:]) < kernel.shape[1]:
            assert (v.map, 0) == (None, min(v.size))
            continue
        made = sum(correlate2d(one, two, "valid") for one, two in zip(padded, kernel, strict=True))
        made = made[:: v.stride, :: v.stride] + conv.biases[0].item()
        assert v.size == made.shape
        assert np.allclose(v.map, made, atol=1e-4)
    mine = [v for v in variants if (v.padding, v.stride) == (conv.padding, conv.stride)]
    torch.testing.assert_close(mine[0].map, conv.maps[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("padding", [0, 1, 3])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_sizes_are_counted_by_sliding(padding, stride):
    for side in range(1, 12):
        for window in (1, 3, 7):
            steps = len(range(0, side + 2 * padding - window + 1, stride))
            assert slide_size(side, window, padding, stride) == steps


def test_the_loudest_input_is_the_one_that_adds_the_most():
    conv = opened("plain", "base.block2.conv1")
    parts = []
    for one, weights in zip(conv.padded.numpy(), conv.kernels[3].numpy(), strict=True):
        parts.append((correlate2d(one, weights, "valid") ** 2).sum())
    assert conv.loudest_input(3) == int(np.argmax(parts))


@pytest.mark.parametrize("wanted", ["base.block2.conv1", "block2.conv1", "block2"])
def test_a_layer_may_be_named_briefly(wanted):
    assert choose_convolution(network("plain"), wanted) == "base.block2.conv1"


def test_the_first_layer_is_taken_where_none_is_named():
    assert choose_convolution(network("five blocks"), None) == "base.block1.conv1"


def test_a_block_of_two_convolutions_stands_for_its_first():
    assert choose_convolution(network("two convolutions to a block"), "block2") == "base.block2.conv1"
    assert choose_convolution(network("two convolutions to a block"), "block2.conv2") == "base.block2.conv2"


@pytest.mark.parametrize("name", MLPS)
def test_an_mlp_has_no_kernels(name):
    with pytest.raises(UsageError, match="an MLP, which has no kernels"):
        choose_convolution(network(name), "block1")


def test_a_layer_that_is_not_there_is_said_with_those_that_are():
    with pytest.raises(UsageError, match=r"--layer block3: no such convolution; .* block1.conv1, block2.conv1$"):
        choose_convolution(network("plain"), "block3")
