"""What the figures of an explained picture show: their pixels and words against the tensors that they are of."""

import math
import re
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
import torch
from explained import CNNS, digits, network
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from scipy.signal import correlate2d

from digitnet.explain.activity import blocks
from digitnet.explain.figures import SIGNED
from digitnet.explain.image.animation import positions, save_animation, save_step
from digitnet.explain.image.convolution import compare_windows, read_convolution
from digitnet.explain.image.explanation import Kernels
from digitnet.explain.image.layer_figures import draw_block, draw_kernels, draw_windows
from digitnet.explain.image.picture_figures import MOST_PARTS, _chosen_parts
from digitnet.explain.trace import Representation, trace


@pytest.fixture
def shown(monkeypatch):
    """Every image that is drawn, with its title as it is in the end."""
    images, real = [], Axes.imshow

    def imshow(self, values, *arguments, **options):
        images.append((self, np.asarray(values)))
        return real(self, values, *arguments, **options)

    monkeypatch.setattr(Axes, "imshow", imshow)
    return images


def opened(name, layer=None):
    model = network(name)
    stages = trace(model, digits(1)[0][0])
    names = [stage.layer.name for stage in stages if stage.layer.kind.startswith("Conv2d")]
    conv = read_convolution(model, stages, layer or names[0])
    order = tuple(range(len(conv.kernels)))[::-1]
    return Kernels(convolution=conv, shown=order, chosen=order[0], variants=compare_windows(conv, order[0])), stages


@pytest.mark.parametrize("name", CNNS)
def test_each_kernel_stands_beside_its_map(name, shown, tmp_path):
    kernels, _ = opened(name)
    conv = kernels.convolution
    draw_kernels(tmp_path / "k.png", kernels)
    assert len(shown) == 2 * len(kernels.shown)
    for place, index in enumerate(kernels.shown):
        (left, weights), (right, made) = shown[2 * place : 2 * place + 2]
        assert (left.get_title(), right.get_title()) == (f"kernel {index}", f"makes map {index}")
        assert np.array_equal(weights, conv.kernels[index, 0])
        padded = np.pad(conv.inputs[0].numpy(), conv.padding)
        expected = correlate2d(padded, conv.kernels[index, 0].numpy(), "valid")[:: conv.stride, :: conv.stride]
        assert np.allclose(made, expected + conv.biases[index].item(), atol=1e-4)


@pytest.mark.parametrize("name", CNNS)
def test_padding_and_stride_are_drawn_to_scale_with_their_sizes(name, shown, tmp_path):
    kernels, _ = opened(name)
    conv = kernels.convolution
    draw_windows(tmp_path / "w.png", kernels)
    drawn = [(axes, values) for axes, values in shown if axes.get_title().startswith("padding")]
    assert len(drawn) == 4
    for axes, values in drawn:
        padding, stride, size = re.match(r"padding (\w+), stride (\d): makes (\d+ x \d+)", axes.get_title()).groups()
        margin = conv.kernels.shape[2] // 2 if padding == "same" else 0
        padded = np.pad(conv.inputs[0].numpy(), margin)
        made = correlate2d(padded, conv.kernels[kernels.chosen, 0].numpy(), "valid")[:: int(stride), :: int(stride)]
        assert size == f"{made.shape[0]} x {made.shape[1]}"
        assert np.allclose(values, made + conv.biases[kernels.chosen].item(), atol=1e-4)
    spans = {tuple(np.ptp([axes.get_xlim(), axes.get_ylim()], axis=1)) for axes, _ in drawn}
    assert len(spans) == 1  # so that a pixel is as large in each
    mine = [axes for axes, _ in drawn if axes.get_title().endswith("this network")]
    assert len(mine) == (1 if conv.stride <= 2 else 0)


def test_a_stride_of_its_own_is_said_below(monkeypatch, tmp_path):
    said = []
    monkeypatch.setattr(Figure, "supxlabel", lambda _, text, **__: said.append(text))
    kernels, _ = opened("plain")
    draw_windows(tmp_path / "w.png", kernels)
    strided = replace(kernels.convolution, stride=7, maps=kernels.convolution.maps[:, ::7, ::7])
    draw_windows(tmp_path / "w.png", replace(kernels, convolution=strided))
    assert "this network" not in said[0]
    assert said[1].startswith("this network: padding same, stride 7, makes 4 x 4, which is none of the four\n")


def of_shapes(*shapes):
    """A representation of each shape, all of them nought."""
    return tuple(
        Representation(name=str(i), shape=shape, pooled=None, features=torch.zeros(1, math.prod(shape)))
        for i, shape in enumerate(shapes)
    )


@pytest.mark.parametrize("maps", [1, 2, 3, 8, 11, 40])
@pytest.mark.parametrize("layers", [0, 1, 2, 12, 30])
def test_of_many_parts_the_first_and_the_last_of_each_kind_are_drawn(maps, layers):
    parts = of_shapes(*[(1, 28, 28)] * maps, *[(16,)] * layers)
    chosen = [int(part.name) for part in _chosen_parts(parts)]
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(len(parts), MOST_PARTS)
    assert {0, min(1, len(parts) - 1), maps - 1, len(parts) - 1} <= set(chosen)


def test_a_block_is_drawn_in_the_order_of_its_layers(shown, tmp_path):
    _, stages = opened("plain")
    block = blocks(stages)[1]
    draw_block(tmp_path / "b.png", block)
    maps = len(block.output)
    assert len(shown) == maps * len(block.stages)
    order = [int(axes.get_title().removeprefix("map ")) for axes, _ in shown[:maps]]
    activity = block.output.abs().mean((1, 2)).numpy()
    assert order == sorted(range(maps), key=lambda index: -activity[index])
    for place, (_, values) in enumerate(shown):
        assert np.array_equal(values, block.stages[place // maps].output[order[place % maps]])


@pytest.mark.parametrize("name", CNNS)
def test_the_window_stops_at_every_pixel_of_one_row_and_once_in_each_other(name):
    conv = opened(name)[0].convolution
    height, width = conv.maps.shape[1:]
    found = positions(conv, 0)
    assert found == sorted(found)
    assert len(found) == height - 1 + width
    assert {row for row, _ in found} == set(range(height))


@pytest.mark.parametrize(("name", "layer"), [("plain", None), ("kernel 7, stride 2, no pooling", "base.block2.conv1")])
def test_the_last_frame_shows_the_whole_map_in_its_colours(name, layer, tmp_path):
    kernels, _ = opened(name, layer)
    conv, path = kernels.convolution, tmp_path / "c.gif"
    count = save_animation(path, conv, kernels.chosen)
    made = conv.maps[kernels.chosen].numpy()
    with Image.open(path) as picture:
        assert (picture.n_frames, picture.size) == (count, (1200, 800))
        picture.seek(count - 1)
        last = np.asarray(picture.convert("RGB")).astype(int)
        picture.seek(0)
        first = np.asarray(picture.convert("RGB")).astype(int)
    cell = 392 // max(made.shape)
    corner = 700 + (392 - made.shape[1] * cell) // 2, 90 + (392 - made.shape[0] * cell) // 2
    colours = mpl.colormaps[SIGNED]((made / np.abs(made).max() + 1) / 2, bytes=True)[..., :3].astype(int)
    for (row, column), _ in np.ndenumerate(made):
        x, y = corner[0] + column * cell + cell // 2, corner[1] + row * cell + cell // 2
        assert np.abs(last[y, x] - colours[row, column]).max() <= 12  # of 256 colours, the nearest
    x, y = corner[0] + cell // 2, corner[1] + (made.shape[0] - 1) * cell + cell // 2
    assert np.abs(first[y, x] - 225).max() <= 3  # not filled yet


def test_the_step_that_is_held_still_is_the_one_of_the_highest_answer(tmp_path):
    conv, path = opened("plain")[0].convolution, tmp_path / "s.png"
    save_step(path, conv, 2)
    made = conv.maps[2].numpy()
    row, column = np.unravel_index(made.argmax(), made.shape)
    with Image.open(path) as picture:
        assert picture.size == (1200, 800)
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    cell = 392 // 28
    green = (np.abs(pixels - (0, 158, 115)).max(2) < 8).nonzero()  # the frames round window and pixel
    right = green[1] >= 700
    assert green[0][right].min() == 90 + row * cell - 1
    assert green[1][right].min() == 700 + column * cell - 1
    assert green[0][~right].min() == 90 + (392 - 30 * 13) // 2 + row * 13 - 1  # padded by 1: 30 pixels of 13
