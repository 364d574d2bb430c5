"""Blocks in their true order, the most active maps, what is nought; dense units by hand."""

import numpy as np
import pytest
import torch
from explained import CONFIGS, MLPS, digits, network

from digitnet.explain.activity import around, blocks, dense_units, most_active, shares
from digitnet.explain.trace import trace

ORDERS = {
    "plain": [("base.block1", "conv1 pool norm1 activation1"), ("base.block2", "conv1 pool norm1 activation1")],
    "kernel 7, stride 2, no pooling": [
        ("base.block1", "conv1 norm1 activation1"),
        ("base.block2", "conv1 norm1 activation1"),
    ],
    "average pooling, valid, head, gelu, biases": [
        ("base.block1", "conv1 pool activation1"),
        ("base.block2", "conv1 pool activation1"),
        ("head.dense1", "dense1 activation1"),
        ("head.dense2", "dense2 activation2"),
    ],
    "two convolutions to a block": [
        ("base.block1", "conv1 norm1 activation1 conv2 pool norm2 activation2"),
        ("base.block2", "conv1 norm1 activation1 conv2 pool norm2 activation2"),
    ],
    "mlp, batch norm, sigmoid": [("head.dense1", "dense1 norm1 activation1")],
    "mlp, no hidden layer": [],
}


@pytest.mark.parametrize("name", ORDERS)
def test_blocks_are_in_the_order_that_an_image_takes(name):
    found = blocks(trace(network(name), digits(1)[0][0]))
    layers = [(block.name, " ".join(s.layer.name.split(".")[-1] for s in block.stages)) for block in found]
    assert layers == ORDERS[name]


@pytest.mark.parametrize("name", CONFIGS)
def test_each_stage_of_a_block_gets_what_the_one_before_made(name):
    for block in blocks(trace(network(name), digits(1)[0][0])):
        for before, after in zip(block.stages, block.stages[1:], strict=False):
            assert torch.equal(before.output, after.inputs)
        assert torch.equal(block.output, block.stages[-1].output)


@pytest.mark.parametrize(
    ("name", "convolution", "layers"),
    [
        ("plain", "base.block2.conv1", "conv1 pool norm1 activation1"),
        ("two convolutions to a block", "base.block2.conv1", "conv1 norm1 activation1"),
        ("two convolutions to a block", "base.block1.conv2", "conv2 pool norm2 activation2"),
        ("kernel 7, stride 2, no pooling", "base.block1.conv1", "conv1 norm1 activation1"),
    ],
)
def test_around_a_convolution_is_what_leads_to_its_activation(name, convolution, layers):
    found = around(trace(network(name), digits(1)[0][0]), convolution)
    assert found.name == convolution.rpartition(".")[0]
    assert " ".join(stage.layer.name.split(".")[-1] for stage in found.stages) == layers


def test_the_most_active_maps_are_those_of_the_largest_mean():
    maps = torch.tensor([1.0, -5.0, 3.0, 3.0, 0.0])[:, None, None].expand(5, 4, 4)
    assert most_active(maps, 3) == [1, 2, 3]
    assert most_active(maps, 9) == [1, 2, 3, 0, 4]
    assert most_active(torch.tensor([0.5, -2.0, 1.0]), 2) == [1, 2]


def test_what_relu_silences_is_counted():
    stages = trace(network("plain"), digits(1)[0][0])
    relu = next(stage for stage in stages if stage.layer.kind == "ReLU")
    found = shares(relu)
    assert (found.before, found.after) == (4 * 14 * 14, 4 * 14 * 14)
    assert found.zeros == pytest.approx(np.mean(relu.inputs.numpy() <= 0))
    assert 0 < found.zeros < 1
    pool = next(stage for stage in stages if stage.layer.kind.startswith("MaxPool"))
    assert (shares(pool).before, shares(pool).after) == (4 * 28 * 28, 4 * 14 * 14)


@pytest.mark.parametrize("name", MLPS)
def test_a_unit_is_the_sum_of_its_products(name):
    model, image = network(name), digits(1)[0][0]
    stages = trace(model, image)
    x = (image[0].double().numpy() / 255 - 0.13) / 0.3
    for unit in dense_units(model, stages, [7, 0]):
        layer = model.head[0]
        assert np.array_equal(unit.weights, layer.weight.detach()[unit.index].view(28, 28))
        assert np.allclose(unit.products, unit.weights.numpy() * x, atol=1e-6)
        assert unit.total == pytest.approx((unit.weights.numpy() * x).sum() + unit.bias, abs=1e-4)
        hidden = blocks(stages)
        assert unit.output == (hidden[0].output if hidden else stages[-1].output)[unit.index].item()
        assert unit.bias == (0 if layer.bias is None else layer.bias[unit.index].item())
