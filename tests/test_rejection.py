"""Scores, thresholds and what they gain, against definitions by hand and by brute force."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from digitnet.rejection import RATES, Thresholds, auroc, coverages, digit_score, fit_thresholds

THRESHOLDS = Thresholds(rates=(0.0, 0.01, 0.5, 1.0), scores=(-1.0, 1.0, 5.0, 7.0))


def test_the_score_is_the_log_of_the_summed_powers():
    logits = np.random.default_rng(0).normal(0, 4, (20, 10))
    expected = [math.log(sum(math.exp(z) for z in row)) for row in logits]
    assert digit_score(torch.tensor(logits)).tolist() == pytest.approx(expected)


def test_the_score_of_any_finite_logits_is_finite_and_the_order_of_the_digits_means_nothing():
    logits = torch.randn(9, 10) * 1e30
    assert digit_score(logits).isfinite().all()
    assert torch.equal(digit_score(logits), digit_score(logits.flip(1)))


@pytest.mark.parametrize("count", [1, 2, 10, 99, 5_000])
def test_at_most_the_rate_of_the_digits_stays_below_a_threshold(count):
    scores = torch.tensor(np.random.default_rng(count).normal(size=count))
    thresholds = fit_thresholds(scores)
    assert thresholds.rates == RATES
    assert RATES[0] == 0
    assert RATES[-1] == 1
    for rate in RATES[1:-1]:
        below = (scores < thresholds.score(rate)).double().mean().item()
        assert rate - 2 / count <= below <= rate + 1e-12


def test_between_two_rates_about_as_many_digits_stay_below():
    scores = torch.tensor(np.random.default_rng(0).normal(10, 3, size=5_000))
    thresholds = fit_thresholds(scores)
    for rate, slack in (
        (0.0005, 0.0005),
        (0.0012, 0.0005),
        (0.0125, 0.0005),
        (0.025, 0.002),
        (0.15, 0.02),
        (0.77, 0.01),
    ):
        assert (scores < thresholds.score(rate)).double().mean().item() == pytest.approx(rate, abs=slack)


def test_between_two_rates_the_score_is_on_a_line():
    assert [THRESHOLDS.score(rate) for rate in (0.01, 0.5)] == [1.0, 5.0]
    assert THRESHOLDS.score(0.255) == pytest.approx(3.0)
    assert THRESHOLDS.score(0.005) == pytest.approx(0.0)
    assert THRESHOLDS.score(0.75) == pytest.approx(6.0)


def test_nothing_and_everything_are_meant_literally():
    assert THRESHOLDS.score(0) == -math.inf
    assert THRESHOLDS.score(1) == math.inf


@pytest.mark.parametrize("rate", [-0.01, 1.01, math.nan])
def test_a_rate_that_is_none_is_refused(rate):
    with pytest.raises(ValueError, match="from 0 to 1"):
        THRESHOLDS.score(rate)


@given(st.floats(0, 1), st.floats(0, 1))
def test_who_turns_away_more_asks_for_more(a, b):
    low, high = sorted((a, b))
    assert THRESHOLDS.score(low) <= THRESHOLDS.score(high)


@pytest.mark.parametrize(
    ("rates", "scores"),
    [
        ((), ()),
        ((0.0,), (1.0,)),
        ((0.0, 0.5), (1.0, 2.0)),
        ((0.1, 1.0), (1.0, 2.0)),
        ((0.0, 0.5, 0.5, 1.0), (1.0, 2.0, 3.0, 4.0)),
        ((0.0, 0.6, 0.5, 1.0), (1.0, 2.0, 3.0, 4.0)),
        ((0.0, math.nan, 1.0), (1.0, 2.0, 3.0)),
        ((0.0, 1.0), (2.0, 1.0)),
        ((0.0, 1.0), (1.0, math.nan)),
        ((0.0, 1.0), (1.0,)),
        ((0.0, 1.0), (1.0, 2.0, 3.0)),
    ],
)
def test_thresholds_that_make_no_sense_are_refused(rates, scores):
    with pytest.raises(ValueError, match=r"rise|fall"):
        Thresholds(rates=rates, scores=scores)


def test_coverage_by_hand():
    scores = torch.tensor([0.5, 1.0, 1.5, 4.9, 5.0, 9.0])
    right = torch.tensor([False, True, False, True, True, True])
    rows = coverages(scores, right, THRESHOLDS, (0.0, 0.01, 0.5, 1.0))
    assert [row.reject_rate for row in rows] == [0.0, 0.01, 0.5, 1.0]
    assert [row.answered for row in rows] == [6, 5, 2, 0]
    assert [row.errors for row in rows] == [2, 1, 0, 0]
    assert [row.coverage for row in rows] == pytest.approx([1, 5 / 6, 1 / 3, 0])
    assert [row.accuracy for row in rows[:3]] == pytest.approx([4 / 6, 4 / 5, 1])
    assert rows[3].accuracy is None


SCORES = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=15)


@given(SCORES, SCORES)
def test_the_area_by_comparing_every_pair(digits, others):
    won = sum((a > b) + (a == b) / 2 for a in digits for b in others)
    assert auroc(torch.tensor(digits), torch.tensor(others)) == pytest.approx(won / len(digits) / len(others))


def test_the_area_of_a_large_sample():
    rng = torch.Generator().manual_seed(0)
    digits, others = torch.randn(20_000, generator=rng) + 1, torch.randn(30_000, generator=rng)
    expected = 0.5 * (1 + math.erf(1 / 2))  # of two normal distributions, one standard deviation apart
    assert auroc(digits, others) == pytest.approx(expected, abs=0.005)
