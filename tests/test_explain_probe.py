"""The probe against scikit-learn's ridge regression, and on features whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from explained import CONFIGS, digits, network
from sklearn.linear_model import Ridge

from digitnet.explain.image.probe import fit_ridge, penalty, probe_layers
from digitnet.explain.trace import represent


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("count", [40, 200])
@pytest.mark.parametrize("alpha", [0.01, 3.0])
def test_weights_are_scikit_learns(count, alpha):
    features, targets = normal(count, 90) + 2, torch.arange(count) % 10  # fewer images than features, and more
    mine = fit_ridge(features, targets, alpha)
    theirs = Ridge(alpha=alpha, solver="svd").fit(features.double().numpy(), np.eye(10)[targets])
    assert np.allclose(mine.weights.T, theirs.coef_, atol=1e-4)
    assert np.allclose(mine.bias, theirs.intercept_, atol=1e-4)
    others = normal(50, 90, seed=1)
    assert mine.predict(others).tolist() == theirs.predict(others.double().numpy()).argmax(1).tolist()


@pytest.mark.parametrize("name", CONFIGS)
def test_each_layers_accuracy_is_scikit_learns(name):
    model, (images, targets), (others, truth) = network(name), digits(150), digits(80, seed=6)
    fit, measure = represent(model, images), represent(model, others)
    results = probe_layers(fit, targets, measure, truth)
    assert [result.name for result in results] == [one.name for one in fit]
    for result, some, more in zip(results, fit, measure, strict=True):
        x = some.features.double().numpy()
        alpha = 0.001 * ((x - x.mean(0)) ** 2).sum()
        assert penalty(some.features) == pytest.approx(alpha, rel=1e-4)
        theirs = Ridge(alpha=alpha, solver="svd").fit(x, np.eye(10)[targets])
        preds = theirs.predict(more.features.double().numpy()).argmax(1)
        assert abs(result.correct - int((preds == truth.numpy()).sum())) <= 1  # ties, to rounding
        assert (result.fitted, result.measured, result.shape) == (150, 80, some.shape)
        assert result.accuracy == result.correct / 80
        low, high = result.interval
        assert low <= result.accuracy <= high


def test_features_that_are_the_answer_are_read_without_a_fault():
    targets = torch.arange(60) % 10
    features = torch.nn.functional.one_hot(targets, 10).float()
    ridge = fit_ridge(features, targets, penalty(features))
    assert ridge.predict(features).equal(targets)


@pytest.mark.parametrize("size", [1e-25, 1e-6, 1e6])
def test_a_probe_does_not_depend_on_the_scale(size):
    (images, targets), (others, truth) = digits(150), digits(80, seed=6)
    fit, measure = represent(network("plain"), images), represent(network("plain"), others)

    def scaled(parts):
        return [replace(one, features=one.features * size) for one in parts]

    plain, other = (probe_layers(*parts) for parts in (
        (fit, targets, measure, truth), (scaled(fit), targets, scaled(measure), truth)))  # fmt: skip
    for one, two in zip(plain, other, strict=True):
        assert abs(one.correct - two.correct) <= 1  # ties, to rounding


def test_features_that_are_all_alike_tell_nothing():
    targets = torch.arange(60) % 10
    features = torch.ones(60, 4)
    ridge = fit_ridge(features, targets, penalty(features))
    assert ridge.weights.abs().max() < 1e-6
    assert torch.allclose(ridge.bias, torch.full((10,), 0.1, dtype=torch.float64))
