"""Temperature and reliability against numpy by brute force, and what both mean for a network that knows the truth."""

import math
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from digitnet.calibration import BINS, Calibration, fit_calibration, fit_temperature, reliability
from digitnet.config import REJECT_RATE
from digitnet.rejection import RATES, Thresholds, digit_score


def drawn(count, seed=0, spread=3.0, scale=1.0):
    """Draw logits, and targets by the very probabilities that the logits stand for; then multiply by a scale."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, spread, (count, 10))
    targets = [rng.choice(10, p=row) for row in softmax(logits)]
    return torch.tensor(logits * scale), torch.tensor(targets)


def softmax(logits):
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def objective(logits, targets, inverse):
    """Minus the log-likelihood of the targets, and the prior's term."""
    scaled = logits.numpy() * inverse
    highest = scaled.max(1)
    log_total = highest + np.log(np.exp(scaled - highest[:, None]).sum(1))
    return (log_total - scaled[np.arange(len(scaled)), targets.numpy()]).sum() + (inverse - 1) ** 2 / (2 * 0.3**2)


def grid_search(logits, targets):
    """Return the best inverse temperature to within a millionth, by looking at a finer and finer grid."""
    low, high = 0.01, 100.0
    while high / low > 1 + 1e-6:
        grid = np.geomspace(low, high, 50)
        best = int(np.argmin([objective(logits, targets, inverse) for inverse in grid]))
        low, high = grid[max(0, best - 1)], grid[min(49, best + 1)]
    return (low + high) / 2


@pytest.mark.parametrize(("count", "scale"), [(1, 1), (10, 3), (200, 0.3), (200, 1), (200, 5), (200, 40)])
def test_the_temperature_is_the_best_of_a_grid(count, scale):
    logits, targets = drawn(count, scale=scale)
    assert 1 / fit_temperature(logits, targets) == pytest.approx(grid_search(logits, targets), rel=1e-5)


@pytest.mark.parametrize("scale", [0.25, 1, 4])
def test_a_network_that_exaggerates_is_brought_back_by_as_much(scale):
    logits, targets = drawn(5_000, scale=scale)
    assert fit_temperature(logits, targets) == pytest.approx(scale, rel=0.05)
    assert fit_temperature(logits.float(), targets) == pytest.approx(fit_temperature(logits, targets), rel=1e-5)


ROWS = st.lists(st.floats(-1e4, 1e4), min_size=10, max_size=10)


@given(st.lists(st.tuples(ROWS, st.integers(0, 9)), min_size=1, max_size=20))
@settings(deadline=None)
def test_whatever_the_logits_the_temperature_makes_nothing_worse(pairs):
    logits, targets = (torch.tensor(part) for part in zip(*pairs, strict=True))
    temperature = fit_temperature(logits.double(), targets)
    assert 1 / 100 <= temperature <= 100
    before, after = (torch.nn.functional.cross_entropy(logits.double() / t, targets) for t in (1, temperature))
    assert after <= before * (1 + 1e-9) + 1e-9


def test_a_few_images_all_right_do_not_make_a_network_certain():
    logits = torch.eye(10, dtype=torch.float64) * 3
    few = fit_temperature(logits, torch.arange(10))
    assert 1 / 3 < few < 1
    assert fit_temperature(logits.repeat(100, 1), torch.arange(10).repeat(100)) < few  # more of them do say something


def test_logits_that_say_nothing_are_not_trusted_and_none_is_too_large():
    logits, targets = drawn(1_000, seed=1)
    assert fit_temperature(logits, targets.roll(1)) > 20
    assert fit_temperature(torch.zeros(5, 10), torch.zeros(5, dtype=torch.int64)) == pytest.approx(1)
    for size in (1e30, 1e-30):
        assert 0.01 <= fit_temperature(logits.sign() * size, targets) <= 100


def test_it_takes_no_time_worth_speaking_of():
    logits, targets = drawn(5_000, scale=1.2)
    times_s = []
    for _ in range(10):
        started = time.process_time()
        fit_calibration(logits, targets)
        times_s.append(time.process_time() - started)
    assert min(times_s) < 0.05  # some 0.006 where nothing else is at work


def bins_by_hand(probs, targets):
    """Go through the bins (k/15, (k + 1)/15], each with the images whose highest probability is in it."""
    rows = []
    confidence, preds = probs.max(1), probs.argmax(1)
    for k in range(15):
        inside = [i for i in range(len(probs)) if k / 15 < confidence[i] <= (k + 1) / 15]
        if inside:
            right = [preds[i] == targets[i] for i in inside]
            rows.append((k / 15, (k + 1) / 15, len(inside), np.mean(confidence[inside]), np.mean(right)))
    return rows


@pytest.mark.parametrize("count", [1, 7, 500])
def test_reliability_and_its_error_by_hand(count):
    logits, targets = drawn(count, seed=count, spread=2.0, scale=1.5)
    probs = softmax(logits.numpy())
    expected = bins_by_hand(probs, targets.numpy())
    found = reliability(torch.tensor(probs), targets)
    rows = [(b.low, b.high, b.count, b.confidence, b.accuracy) for b in found.bins]
    assert [row[2] for row in rows] == [row[2] for row in expected]
    np.testing.assert_allclose(rows, expected)
    error = sum(n * abs(sure - right) for _, _, n, sure, right in expected) / count
    assert found.error == pytest.approx(error)


def test_a_confidence_on_a_bound_belongs_to_the_bin_below():
    probs = torch.zeros(4, 10, dtype=torch.float64)
    for row, top in enumerate((3 / 15, 6 / 15, 12 / 15, 1.0)):
        probs[row] = (1 - top) / 9
        probs[row, 4] = top
    found = reliability(probs, torch.tensor([4, 4, 0, 4]))
    assert [round(b.high * BINS) for b in found.bins] == [3, 6, 12, 15]
    assert [b.accuracy for b in found.bins] == [1, 1, 0, 1]
    assert found.error == pytest.approx((12 / 15 + 9 / 15 + 12 / 15 + 0) / 4)


def test_a_network_that_knows_how_sure_it_is_has_little_error_and_an_exaggerating_one_much():
    logits, targets = drawn(5_000, seed=2)
    honest, loud = (reliability((logits * scale).softmax(1), targets).error for scale in (1, 3))
    assert honest < 0.02
    assert loud > 0.1
    repaired = reliability((logits * 3 / fit_temperature(logits * 3, targets)).softmax(1), targets).error
    assert repaired < 0.02


def test_what_is_fitted_on_some_images_holds_on_others():
    calibration = fit_calibration(*drawn(5_000, seed=3, scale=2))
    assert calibration.thresholds.rates == RATES
    logits, _ = drawn(20_000, seed=4, scale=2)
    needed = calibration.thresholds.score(REJECT_RATE)
    turned_away = (digit_score(logits / calibration.temperature) < needed).double().mean()
    assert turned_away == pytest.approx(REJECT_RATE, abs=0.004)


def test_a_run_stores_what_its_validation_images_say(classifier):
    from digitnet.data.load import load_training
    from digitnet.evaluation import logits_of

    validation = load_training("strokes", size=900)[1]
    expected = fit_calibration(logits_of(classifier.model, validation.images), validation.targets)
    stored = classifier.checkpoint.calibration
    assert stored.temperature == pytest.approx(expected.temperature, rel=0.02)  # in training the logits may be in bf16
    assert stored.thresholds.scores == pytest.approx(expected.thresholds.scores, abs=0.1)


@pytest.mark.parametrize("temperature", [0.0, -1.0, 1e-320, 0.0099, 101.0, math.nan, math.inf])
def test_a_temperature_that_is_none_is_refused(temperature):
    with pytest.raises(ValueError, match="temperature is"):
        Calibration(temperature=temperature, thresholds=Thresholds(rates=(0.0, 1.0), scores=(1.0, 2.0)))
