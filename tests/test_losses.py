"""Each loss against numpy by hand, and backpropagation against finite differences."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch

from digitnet.config import CNNConfig, LossName, MLPConfig
from digitnet.losses import build_loss
from digitnet.models import build_model

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(scale=3, size=(6, 10))
TARGETS = np.array([3, 3, 0, 9, 5, 7])
ONE_HOT = np.eye(10)[TARGETS]


def log_softmax(z):
    return z - z.max(1, keepdims=True) - np.log(np.exp(z - z.max(1, keepdims=True)).sum(1, keepdims=True))


def by_hand(name, smoothing, z=LOGITS):
    soft = ONE_HOT * (1 - smoothing) + smoothing / 10
    p = np.exp(log_softmax(z))
    match name:
        case "cross-entropy":
            each = -(soft * log_softmax(z)).sum(1)
        case "bce":
            yes = 1 / (1 + np.exp(-z))
            each = -(soft * np.log(yes) + (1 - soft) * np.log(1 - yes)).sum(1)
        case "mse":
            each = ((p - ONE_HOT) ** 2).sum(1)
        case "mae":
            each = abs(p - ONE_HOT).sum(1)
    return each.mean()


CASES = [(name, 0.0) for name in get_args(LossName)] + [("cross-entropy", 0.1), ("bce", 0.1), ("bce", 0.5)]


@pytest.mark.parametrize(("name", "smoothing"), CASES)
def test_a_loss_is_its_formula(name, smoothing):
    loss = build_loss(name, smoothing)(torch.from_numpy(LOGITS), torch.from_numpy(TARGETS))
    assert loss.shape == ()
    assert loss.item() == pytest.approx(by_hand(name, smoothing), rel=1e-12)


@pytest.mark.parametrize(("name", "smoothing"), CASES)
def test_a_loss_is_a_mean_over_the_batch(name, smoothing):
    loss_fn = build_loss(name, smoothing)
    z, y = torch.from_numpy(LOGITS), torch.from_numpy(TARGETS)
    singles = torch.stack([loss_fn(z[k : k + 1], y[k : k + 1]) for k in range(6)])
    torch.testing.assert_close(loss_fn(z, y), singles.mean())


@pytest.mark.parametrize("name", get_args(LossName))
def test_a_loss_is_small_when_right_and_large_when_wrong(name):
    sure = torch.full((10, 10), -30.0).fill_diagonal_(30.0)
    digits = torch.arange(10)
    assert build_loss(name)(sure, digits).item() == pytest.approx(0, abs=1e-6)
    assert build_loss(name)(sure, (digits + 1) % 10).item() > 1.9


@pytest.mark.parametrize(("name", "smoothing"), CASES)
def test_gradients_are_those_of_finite_differences(name, smoothing):
    z = torch.from_numpy(LOGITS).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: build_loss(name, smoothing)(z, torch.from_numpy(TARGETS)), (z,))


@pytest.mark.parametrize("name", get_args(LossName))
def test_losses_stay_finite_far_out(name):
    z = torch.tensor([[1e4] + [-1e4] * 9, [-1e4] + [1e4] * 9]).requires_grad_()
    loss = build_loss(name)(z, torch.tensor([1, 0]))
    loss.backward()
    assert loss.isfinite()
    assert z.grad.isfinite().all()


# Numeric gradient against backpropagation, through whole networks in double precision.
SMOOTH = {"activation": "tanh", "batch_norm": True}
NETWORKS = [
    MLPConfig(hidden_sizes=(5, 4), **SMOOTH),
    CNNConfig(channels=(2, 3), pool="avg", pool_size=2, pool_stride=2, hidden_sizes=(4,), **SMOOTH),
]
NETWORKS.append(replace(NETWORKS[1], channels=(3,), pool="max", stride=2, convs_per_block=2, padding="valid"))


@pytest.mark.parametrize("config", NETWORKS)
@pytest.mark.parametrize(("name", "smoothing"), [("cross-entropy", 0.1), ("bce", 0.0), ("mse", 0.0), ("mae", 0.0)])
def test_backpropagation_agrees_with_the_numeric_gradient(config, name, smoothing):
    torch.manual_seed(1)
    model = build_model(config).double()  # in training mode: the batch's own statistics have gradients too
    images, targets = torch.rand(6, 1, 28, 28, dtype=torch.float64), torch.from_numpy(TARGETS)
    loss_fn = build_loss(name, smoothing)
    loss_fn(model(images), targets).backward()
    step = 1e-5
    for parameter in model.parameters():
        for number in {0, parameter.numel() // 2, int(parameter.grad.abs().argmax())}:
            index = np.unravel_index(number, parameter.shape)
            with torch.no_grad():
                parameter[index] += step
                above = loss_fn(model(images), targets).item()
                parameter[index] -= 2 * step
                below = loss_fn(model(images), targets).item()
                parameter[index] += step
            assert parameter.grad[index].item() == pytest.approx((above - below) / (2 * step), rel=1e-4, abs=1e-8)
