"""The networks are those that were asked for: counted by hand, and computed again step by step."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from digitnet.config import CNNConfig, MLPConfig
from digitnet.models import DigitNet, FlattenPixels, build_activation, build_model
from digitnet.recipes import PRESETS, build_config

CNN = CNNConfig(channels=(3, 4), pool_size=2, pool_stride=2, batch_norm=False)
MLP = MLPConfig(hidden_sizes=(7, 5))

# A convolution before batch normalisation has in*out*k*k weights and no biases; the normalisation has 2*out.
POOLED = {"pool_size": 2, "pool_stride": 2}
COUNTS = [
    # 1*16*9 + 2*16 + 16*32*9 + 2*32; maps 28 > 14 > 7: 32*7*7*10 + 10
    (CNNConfig(channels=(16, 32), **POOLED), 144 + 32 + 4_608 + 64 + 15_690),
    # The same without normalisation, 16 and 32 biases in its place
    (CNNConfig(channels=(16, 32), batch_norm=False, **POOLED), 144 + 16 + 4_608 + 32 + 15_690),
    # 1*32*9 + 2*32 + 32*64*9 + 2*64 + 64*128*9 + 2*128; maps 28 > 14 > 7 > 3: 128*3*3*10 + 10
    (CNNConfig(channels=(32, 64, 128), **POOLED), 288 + 64 + 18_432 + 128 + 73_728 + 256 + 11_530),
    # (1*64 + 64*64)*9 + 4*64; (64*128 + 128*128)*9 + 4*128; maps 28 > 14 > 7; 6272*50 + 2*50; 50*10 + 10
    (
        CNNConfig(channels=(64, 128), convs_per_block=2, hidden_sizes=(50,), **POOLED),
        37_440 + 256 + 221_184 + 512 + 313_600 + 100 + 510,
    ),
    # 1*3*25 + 3; maps 28 > 24 without margins, no pooling: 3*24*24*10 + 10
    (CNNConfig(channels=(3,), kernel_size=5, padding="valid", pool="none", batch_norm=False), 78 + 17_290),
    # 784*256 + 256; 256*10 + 10
    (MLPConfig(hidden_sizes=(256,)), 200_960 + 2_570),
    # 784*1024 + 2*1024; 1024*512 + 2*512; 512*10 + 10
    (MLPConfig(hidden_sizes=(1024, 512), batch_norm=True, dropout=0.2), 802_816 + 2_048 + 524_288 + 1_024 + 5_130),
    # 784*10 + 10
    (MLPConfig(hidden_sizes=(), activation="identity"), 7_850),
]


def images(count=4, seed=0):
    return torch.rand(count, 1, 28, 28, generator=torch.Generator().manual_seed(seed))


def fresh(config, seed=0):
    torch.manual_seed(seed)
    return build_model(config)


def count(model, kind):
    return sum(isinstance(module, kind) for module in model.modules())


@pytest.mark.parametrize(("config", "expected"), COUNTS)
def test_networks_have_the_parameters_counted_by_hand(config, expected):
    assert sum(parameter.numel() for parameter in build_model(config).parameters()) == expected


@pytest.mark.parametrize(("kind", "preset"), [(kind, preset) for kind in PRESETS for preset in PRESETS[kind]])
def test_each_preset_builds_a_network(kind, preset):
    with torch.device("meta"):
        model = build_model(build_config(kind=kind, preset=preset, overrides={}).model)
    assert model.eval()(torch.zeros(3, 1, 28, 28, device="meta")).shape == (3, 10)


CONFIGS = [
    MLP,
    MLPConfig(hidden_sizes=(), activation="identity"),
    MLPConfig(hidden_sizes=(6,), dropout=0.5, batch_norm=True),
    CNN,
    replace(CNN, hidden_sizes=(6, 5), dropout=0.5, batch_norm=True),
    replace(CNN, channels=(5,), kernel_size=7, padding="valid", stride=3),
    replace(CNN, convs_per_block=3, kernel_size=5, pool="avg", pool_size=3, pool_stride=2),
    CNNConfig(channels=(2, 2, 2), stride=2, pool="none"),
    CNNConfig(channels=(3,), padding="valid", pool_size=26, pool_stride=1),
    CNNConfig(channels=(2,) * 4, pool_size=2, pool_stride=2),
]


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("training", [True, False])
def test_logits_are_ten_a_picture(config, training):
    logits = fresh(config).train(training)(images())
    assert logits.shape == (4, 10)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()


CNN_CHANGES = {
    "channels": (3, 5),
    "convs_per_block": 2,
    "kernel_size": 5,
    "stride": 2,
    "padding": "valid",
    "pool": "avg",
    "pool_size": 3,
    "pool_stride": 3,
    "hidden_sizes": (6,),
    "activation": "tanh",
    "dropout": 0.3,
    "batch_norm": True,
}
MLP_CHANGES = {"hidden_sizes": (7,), "activation": "tanh", "dropout": 0.3, "batch_norm": True}


@pytest.mark.parametrize(("base", "changes"), [(CNN, CNN_CHANGES), (MLP, MLP_CHANGES)])
def test_every_option_changes_the_network(base, changes):
    assert set(changes) == {field.name for field in fields(base)}
    printed = {str(build_model(base))}  # torch prints layers with their sizes
    for name, value in changes.items():
        printed.add(str(build_model(replace(base, **{name: value}))))
    assert len(printed) == 1 + len(changes)


def test_an_mlp_without_hidden_layers_is_one_linear_layer():
    model = fresh(MLPConfig(hidden_sizes=(), activation="identity"))
    assert {name: tuple(p.shape) for name, p in model.named_parameters()} == {
        "head.output.weight": (10, 784),
        "head.output.bias": (10,),
    }
    x = images()
    expected = x.reshape(4, 784) @ model.head.output.weight.T + model.head.output.bias
    torch.testing.assert_close(model(x), expected)


def test_an_mlp_computes_what_its_weights_say():
    model = fresh(replace(MLP, batch_norm=True, dropout=0.4, activation="tanh"))
    with torch.no_grad():
        for buffer in (model.head.norm1.running_mean, model.head.norm1.running_var, model.head.norm2.bias):
            buffer.uniform_(0.5, 1.5)
    w = {name: tensor.numpy().astype(np.float64) for name, tensor in model.state_dict().items()}
    x = images().numpy().astype(np.float64).reshape(4, 784)
    for n in (1, 2):
        x = x @ w[f"head.dense{n}.weight"].T
        x = (x - w[f"head.norm{n}.running_mean"]) / np.sqrt(w[f"head.norm{n}.running_var"] + 1e-5)
        x = np.tanh(x * w[f"head.norm{n}.weight"] + w[f"head.norm{n}.bias"])
    expected = x @ w["head.output.weight"].T + w["head.output.bias"]
    np.testing.assert_allclose(model.eval()(images()).detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_a_cnn_computes_what_its_weights_say():
    config = replace(CNN, convs_per_block=2, stride=2, pool="avg", pool_stride=1, hidden_sizes=(6,), activation="silu")
    model = fresh(config)
    w = model.state_dict()
    x = images()
    for block in (1, 2):
        for n in (1, 2):
            name = f"base.block{block}.conv{n}"
            x = F.conv2d(F.pad(x, (1, 1, 1, 1)), w[f"{name}.weight"], w[f"{name}.bias"], stride=3 - n)
            if n == 2:  # pooling follows the block's last convolution
                x = (x[..., 1:, 1:] + x[..., 1:, :-1] + x[..., :-1, 1:] + x[..., :-1, :-1]) / 4
            x = x * torch.sigmoid(x)
    x = torch.stack([x[:, :, i, j] for i in range(x.shape[2]) for j in range(x.shape[3])], dim=1)  # pixel by pixel
    x = x.reshape(4, -1) @ w["head.dense1.weight"].T + w["head.dense1.bias"]
    expected = (x * torch.sigmoid(x)) @ w["head.output.weight"].T + w["head.output.bias"]
    torch.testing.assert_close(model(images()), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_blocks_that_differ_are_those_put_together_by_hand(training):
    config = CNNConfig(
        channels=(3, 4, 5, 6), kernel_size=(5, 3, 3, 3), stride=(2, 1, 1, 1), padding="valid",
        pool_size=(1, 2, 1, 1), pool_stride=(1, 2, 1, 2), hidden_sizes=(7,), activation="tanh",
    )  # fmt: skip
    by_hand = nn.Sequential(
        nn.Conv2d(1, 3, 5, stride=2, bias=False), nn.BatchNorm2d(3), nn.Tanh(),  # 28 > 12
        nn.Conv2d(3, 4, 3, bias=False), nn.MaxPool2d(2, 2), nn.BatchNorm2d(4), nn.Tanh(),  # > 10 > 5
        nn.Conv2d(4, 5, 3, bias=False), nn.BatchNorm2d(5), nn.Tanh(),  # > 3; a window of 1 that steps by 1 is left out
        nn.Conv2d(5, 6, 3, bias=False), nn.MaxPool2d(1, 2), nn.BatchNorm2d(6), nn.Tanh(),  # > 1
        nn.Flatten(), nn.Linear(6, 7, bias=False), nn.BatchNorm1d(7), nn.Tanh(), nn.Linear(7, 10),
    )  # fmt: skip
    model = fresh(config)
    with torch.no_grad():
        for ours, theirs in zip(model.parameters(), by_hand.parameters(), strict=True):
            theirs.copy_(ours.uniform_(-1, 1))
    x = images(8)
    torch.testing.assert_close(model.train(training)(x), by_hand.train(training)(x), rtol=1e-4, atol=1e-5)
    pools = {name: module for name, module in model.named_modules() if isinstance(module, nn.MaxPool2d)}
    assert set(pools) == {"base.block2.pool", "base.block4.pool"}


def test_features_are_flattened_pixel_by_pixel_and_gradients_find_their_way_back():
    maps = torch.arange(2 * 3 * 4 * 5.0).view(2, 3, 4, 5).requires_grad_()
    features = FlattenPixels()(maps)
    assert features.shape == (2, 60)
    for n, c, row, column in np.ndindex(2, 3, 4, 5):
        assert features[n, (row * 5 + column) * 3 + c] == maps[n, c, row, column]
    slopes = torch.rand(2, 60)
    features.backward(slopes)
    assert maps.grad[1, 2, 3, 4] == slopes[1, (3 * 5 + 4) * 3 + 2]
    side_by_side = torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last)
    assert FlattenPixels()(side_by_side).data_ptr() == side_by_side.data_ptr()  # nothing is moved


def test_batch_norm_stands_before_the_activation_and_instead_of_biases():
    model = fresh(replace(CNN, batch_norm=True, hidden_sizes=(6,)))
    assert list(dict(model.base.block1.named_children())) == ["conv1", "pool", "norm1", "activation1"]
    assert list(dict(model.head.named_children())) == ["dense1", "norm1", "activation1", "output"]
    assert (count(model, nn.BatchNorm2d), count(model, nn.BatchNorm1d)) == (2, 1)
    assert model.base.block1.conv1.bias is None
    assert model.head.dense1.bias is None
    plain = fresh(CNN)
    assert count(plain, nn.BatchNorm2d) == 0
    assert plain.base.block1.conv1.bias is not None


@pytest.mark.parametrize(("config", "layers"), [(replace(MLP, dropout=0.3), 2), (replace(CNN, dropout=0.3), 1),
                                                (replace(CNN, dropout=0.3, hidden_sizes=(6, 5)), 3)])  # fmt: skip
def test_dropout_is_before_each_dense_layer_but_the_pixels(config, layers):
    model = fresh(config)
    drops = [module for module in model.modules() if isinstance(module, nn.Dropout)]
    assert [drop.p for drop in drops] == [0.3] * layers
    assert not torch.equal(model.train()(images()), model(images()))
    assert torch.equal(model.eval()(images()), model(images()))


X = np.linspace(-3, 3, 13)
ERF = np.array([torch.erf(torch.tensor(x / 2**0.5, dtype=torch.float64)).item() for x in X])


@pytest.mark.parametrize(("name", "expected"), [
    ("relu", np.maximum(X, 0)), ("gelu", X * (1 + ERF) / 2), ("silu", X / (1 + np.exp(-X))), ("tanh", np.tanh(X)),
    ("sigmoid", 1 / (1 + np.exp(-X))), ("identity", X),
])  # fmt: skip
def test_activations_are_what_they_are_called_and_used(name, expected):
    np.testing.assert_allclose(build_activation(name)(torch.from_numpy(X)).numpy(), expected, atol=1e-12)
    kind = type(build_activation(name))
    assert count(build_model(replace(MLP, activation=name)), kind) == 2
    assert count(build_model(replace(CNN, activation=name, convs_per_block=2, hidden_sizes=(6,))), kind) == 5


def test_normalisation_is_the_mean_and_the_spread_of_the_pixels():
    pixels = torch.randint(0, 256, (50, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    pixels[:, :, :, 20:] = 0
    model = fresh(MLP)
    model.set_normalisation(pixels)
    shares = pixels.numpy().astype(np.float64) / 255
    assert model.mean.item() == pytest.approx(shares.mean(), rel=1e-6)
    assert model.std.item() == pytest.approx(shares.std(), rel=1e-6)
    assert {"mean", "std"} <= model.state_dict().keys()
    assert {"mean", "std"}.isdisjoint(dict(model.named_parameters()))


def test_a_forward_normalises():
    model = DigitNet(nn.Flatten(), nn.Identity())
    model.mean.fill_(0.25)
    model.std.fill_(0.5)
    torch.testing.assert_close(model(images()), (images().flatten(1) - 0.25) * 2)


def test_normalisation_looks_at_all_parts_of_a_large_set():
    count = 60_000  # sorted from black to white, as a set sorted by its digits might be
    pixels = (torch.arange(count) * 256 // count).to(torch.uint8).view(-1, 1, 1, 1).expand(count, 1, 28, 28)
    model = fresh(MLP)
    model.set_normalisation(pixels)
    levels = np.arange(256) / 255
    assert model.mean.item() == pytest.approx(levels.mean(), rel=1e-3)
    assert model.std.item() == pytest.approx(levels.std(), rel=1e-3)


def test_blank_images_give_no_infinities():
    model = fresh(MLP)
    model.set_normalisation(torch.zeros(3, 1, 28, 28, dtype=torch.uint8))
    assert model(images()).isfinite().all()


def test_weights_follow_from_the_seed_of_torch():
    states = [build_state(seed) for seed in (1, 1, 2)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["head.output.weight"], states[2]["head.output.weight"])


def build_state(seed):
    return fresh(CNN, seed).state_dict()
