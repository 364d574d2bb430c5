"""What is counted is counted right: by hand, by brute force, and by published values."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from digitnet.metrics import Metrics, confusion_counts, wilson_interval

DIGIT = st.integers(0, 9)
PAIRS = st.lists(st.tuples(DIGIT, DIGIT), min_size=1, max_size=60)  # (digit, prediction)


def count(pairs):
    targets, preds = (torch.tensor(column) for column in zip(*pairs, strict=True))
    return Metrics(loss=0.0, confusion=tuple(map(tuple, confusion_counts(preds, targets).tolist())))


@given(PAIRS)
@settings(deadline=None)
def test_confusion_counts_by_brute_force(pairs):
    metrics = count(pairs)
    assert metrics.confusion == tuple(tuple(pairs.count((row, column)) for column in range(10)) for row in range(10))
    assert metrics.count == len(pairs)
    assert metrics.correct == sum(digit == pred for digit, pred in pairs)
    assert metrics.accuracy == metrics.correct / len(pairs)


@given(PAIRS)
@settings(deadline=None)
def test_scores_by_brute_force(pairs):
    for k, scores in enumerate(count(pairs).per_digit):
        is_k = [digit == k for digit, _ in pairs]
        called = [pred == k for _, pred in pairs]
        both = sum(a and b for a, b in zip(is_k, called, strict=True))
        precision = both / sum(called) if any(called) else 0
        recall = both / sum(is_k) if any(is_k) else 0
        f1 = 2 * precision * recall / (precision + recall) if both else 0
        assert (scores.precision, scores.recall, scores.support) == (precision, recall, sum(is_k))
        assert scores.f1 == pytest.approx(f1)


def test_scores_by_hand():
    # Of five 3s, three are called 3 and two 8; of four 8s, one is called 3 and three 8.
    metrics = count([(3, 3)] * 3 + [(3, 8)] * 2 + [(8, 3)] + [(8, 8)] * 3)
    three, eight = metrics.per_digit[3], metrics.per_digit[8]
    assert (metrics.confusion[3][8], metrics.confusion[8][3]) == (2, 1)  # rows are the digits
    assert (three.precision, three.recall, three.support) == (3 / 4, 3 / 5, 5)
    assert (eight.precision, eight.recall, eight.support) == (3 / 5, 3 / 4, 4)
    assert three.f1 == eight.f1 == pytest.approx(2 / 3)
    assert metrics.accuracy == 6 / 9
    absent = metrics.per_digit[0]
    assert (absent.precision, absent.recall, absent.f1, absent.support) == (0, 0, 0, 0)


# Newcombe, "Two-sided confidence intervals for the single proportion" (1998), table I, method 3.
PUBLISHED = [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)]


@pytest.mark.parametrize(("correct", "total", "low", "high"), PUBLISHED)
def test_the_interval_is_the_published_one(correct, total, low, high):
    assert wilson_interval(correct, total) == pytest.approx((low, high), abs=5e-5)


def solve(correct, total, low, high):
    """Bisect for the share that lies 1.96 of its own standard errors from the one observed."""

    def excess(share):
        return abs(correct / total - share) - 1.959963984540054 * math.sqrt(share * (1 - share) / total)

    below = excess(low) > 0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if (excess(middle) > 0) == below else (low, middle)
    return low


@given(st.integers(1, 20_000), st.data())
@settings(deadline=None)
def test_the_interval_solves_its_equation(total, data):
    correct = data.draw(st.integers(0, total))
    share, (low, high) = correct / total, wilson_interval(correct, total)
    assert 0 <= low <= share + 1e-12
    assert share - 1e-12 <= high <= 1
    assert low < high
    if correct > 0:
        assert low == pytest.approx(solve(correct, total, 0, share), abs=1e-9)
    if correct < total:
        assert high == pytest.approx(solve(correct, total, share, 1), abs=1e-9)


def test_the_interval_of_metrics_is_that_of_their_accuracy():
    metrics = count([(0, 0)] * 95 + [(1, 2)] * 5)
    assert metrics.interval == wilson_interval(95, 100)
    assert wilson_interval(100, 100)[0] == pytest.approx(1 - wilson_interval(0, 100)[1])
