"""Each loss against numpy by hand, and backpropagation against finite differences."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch

from digitnet.config import CNNConfig, LossName, MLPConfig
from digitnet.losses import build_loss, with_nondigits
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


# Telling digits from the rest: the first six are digits, the last four are none.

OTHERS = RNG.normal(scale=3, size=(4, 10))
BOTH = np.concatenate([LOGITS, OTHERS])


def telling(z, digits=6):
    """The mean binary cross-entropy of log-sum-exp as the logit of being a digit, in numpy."""
    level = np.log(np.exp(z).sum(1))
    sign = np.where(np.arange(len(z)) < digits, -1, 1)
    return np.log1p(np.exp(sign * level)).mean()


def slope_of_telling(z, digits=6):
    """Its gradient by the logits: of log-sum-exp that is softmax."""
    level = np.log(np.exp(z).sum(1, keepdims=True))
    is_digit = np.arange(len(z))[:, None] < digits
    return (1 / (1 + np.exp(-level)) - is_digit) * np.exp(z - level) / len(z)


def with_gradient(loss_fn, z):
    z = torch.from_numpy(z).requires_grad_()
    loss = loss_fn(z, torch.from_numpy(TARGETS))
    loss.backward()
    return loss.item(), z.grad.numpy()


@pytest.mark.parametrize(("name", "smoothing"), CASES)
def test_telling_is_added_to_the_loss_of_the_digits(name, smoothing):
    loss, slope = with_gradient(with_nondigits(build_loss(name, smoothing)), BOTH)
    assert loss == pytest.approx(by_hand(name, smoothing) + telling(BOTH), rel=1e-12)
    assert loss == pytest.approx(by_hand(name, smoothing) + telling(BOTH[[*range(6), 9, 8, 7, 6]]), rel=1e-12)
    _, plain = with_gradient(build_loss(name, smoothing), LOGITS)
    np.testing.assert_allclose(slope[:6], plain + slope_of_telling(BOTH)[:6], atol=1e-12)
    np.testing.assert_allclose(slope[6:], slope_of_telling(BOTH)[6:], atol=1e-12)  # through the level alone


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_level_of_the_logits_is_free_to_tell_digits_from_the_rest(smoothing):
    loss_fn = with_nondigits(build_loss("cross-entropy", smoothing))
    raised = BOTH + RNG.normal(scale=2, size=(10, 1))
    loss, found = (with_gradient(loss_fn, z)[0] for z in (BOTH, raised))
    assert found - loss == pytest.approx(telling(raised) - telling(BOTH), rel=1e-9)  # cross-entropy has no part in it
    assert with_gradient(loss_fn, BOTH + 20 * np.where(np.arange(10) < 6, 1, -1)[:, None])[0] == pytest.approx(
        by_hand("cross-entropy", smoothing), abs=1e-4
    )


def test_a_batch_may_have_no_nondigits():
    loss, slope = with_gradient(with_nondigits(build_loss("cross-entropy")), LOGITS)
    assert loss == pytest.approx(by_hand("cross-entropy", 0.0) + telling(LOGITS), rel=1e-12)
    assert np.isfinite(slope).all()


def test_telling_stays_finite_far_out():
    z = torch.tensor([[1e4] * 10, [-1e4] * 10] * 2).requires_grad_()
    loss = with_nondigits(build_loss("cross-entropy"))(z, torch.tensor([1, 0]))
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
