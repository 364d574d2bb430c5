"""The table of layers: shapes, parameters and multiply-adds, by hand and by torch's own counters."""

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from digitnet.config import CNNConfig, MLPConfig
from digitnet.models import build_model
from digitnet.summary import summarise

CNN = CNNConfig(channels=(4, 6), pool_size=2, pool_stride=2, hidden_sizes=(5,), dropout=0.1)
MLP = MLPConfig(hidden_sizes=(7,), batch_norm=True)

BY_HAND = {
    CNN: [
        ("base.block1.conv1", "Conv2d 3x3", (4, 28, 28), 4 * 9, 28 * 28 * 4 * 9),
        ("base.block1.pool", "MaxPool2d 2x2", (4, 14, 14), 0, 0),
        ("base.block1.norm1", "BatchNorm2d", (4, 14, 14), 8, 0),
        ("base.block1.activation1", "ReLU", (4, 14, 14), 0, 0),
        ("base.block2.conv1", "Conv2d 3x3", (6, 14, 14), 6 * 4 * 9, 14 * 14 * 6 * 4 * 9),
        ("base.block2.pool", "MaxPool2d 2x2", (6, 7, 7), 0, 0),
        ("base.block2.norm1", "BatchNorm2d", (6, 7, 7), 12, 0),
        ("base.block2.activation1", "ReLU", (6, 7, 7), 0, 0),
        ("base.flatten", "FlattenPixels", (294,), 0, 0),
        ("head.dropout0", "Dropout", (294,), 0, 0),
        ("head.dense1", "Linear", (5,), 294 * 5, 294 * 5),
        ("head.norm1", "BatchNorm1d", (5,), 10, 0),
        ("head.activation1", "ReLU", (5,), 0, 0),
        ("head.dropout1", "Dropout", (5,), 0, 0),
        ("head.output", "Linear", (10,), 60, 50),
    ],
    MLP: [
        ("base", "Flatten", (784,), 0, 0),
        ("head.dense1", "Linear", (7,), 5_488, 5_488),
        ("head.norm1", "BatchNorm1d", (7,), 14, 0),
        ("head.activation1", "ReLU", (7,), 0, 0),
        ("head.output", "Linear", (10,), 80, 70),
    ],
}


@pytest.mark.parametrize("config", BY_HAND)
def test_layers_by_hand(config):
    layers = summarise(build_model(config))
    found = [(layer.name, layer.kind, layer.output_shape, layer.parameters, layer.multiply_adds) for layer in layers]
    assert found == BY_HAND[config]


@pytest.mark.parametrize("config", [
    CNN, MLP, MLPConfig(hidden_sizes=(), activation="identity"),
    replace(CNN, stride=2, kernel_size=5, pool="avg", pool_size=3, pool_stride=1, batch_norm=False),
    replace(CNN, convs_per_block=3, padding="valid", kernel_size=3, pool="none", pool_size=None, pool_stride=None),
])  # fmt: skip
def test_totals_are_those_of_torch(config):
    model = build_model(config).eval()
    layers = summarise(model)
    assert sum(layer.parameters for layer in layers) == sum(parameter.numel() for parameter in model.parameters())
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 1, 28, 28))
    assert sum(layer.multiply_adds for layer in layers) * 2 == counter.get_total_flops()


@pytest.mark.parametrize("training", [True, False])
def test_the_network_is_left_as_it_was(training):
    model = build_model(CNN).train(training)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert summarise(model) == summarise(model)
    assert model.training is training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())
