"""Networks of many forms, and digits, for the tests of what is explained of them."""

import torch

from digitnet.config import CNNConfig, MLPConfig
from digitnet.data.strokes import draw_strokes
from digitnet.models import build_model

CNNS = {
    "plain": CNNConfig(channels=(4, 6), pool_size=2, pool_stride=2),
    "kernel 7, stride 2, no pooling": CNNConfig(channels=(3, 5), kernel_size=7, stride=(2, 1), pool="none"),
    "average pooling, valid, head, gelu, biases": CNNConfig(
        channels=(4, 6),
        kernel_size=5,
        padding="valid",
        pool="avg",
        pool_size=3,
        pool_stride=2,
        hidden_sizes=(9, 7),
        activation="gelu",
        dropout=0.2,
        batch_norm=False,
    ),
    "one block of one channel": CNNConfig(channels=(1,), pool_size=2, pool_stride=2, activation="tanh"),
    "five blocks": CNNConfig(channels=(2, 3, 4, 5, 6), pool_size=(2, 2, 1, 2, 1), pool_stride=(2, 2, 1, 2, 1)),
    "two convolutions to a block": CNNConfig(channels=(3, 4), convs_per_block=2, pool_size=2, pool_stride=2),
}
MLPS = {
    "mlp": MLPConfig(hidden_sizes=(12, 8)),
    "mlp, batch norm, sigmoid": MLPConfig(hidden_sizes=(11,), batch_norm=True, activation="sigmoid", dropout=0.1),
    "mlp, no hidden layer": MLPConfig(hidden_sizes=(), activation="identity"),
}
CONFIGS = {**CNNS, **MLPS}


def network(name):
    """Build a network with repeatable weights, whose normalisations do something; in evaluation mode."""
    torch.manual_seed(1)
    model = build_model(CONFIGS[name])
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 2)
            torch.nn.init.normal_(module.bias, 0, 0.3)
    model.mean.fill_(0.13)
    model.std.fill_(0.3)
    return model.eval()


def digits(count, seed=5):
    """Draw digits: images (count, 1, 28, 28) uint8, and targets."""
    return draw_strokes(count, seed=seed)
