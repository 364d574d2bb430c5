"""Two networks on the same images: the counts, and McNemar's test against a sum over all outcomes."""

import math
from fractions import Fraction
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from digitnet import comparison
from digitnet.comparison import Comparison, compare, mcnemar_p_value


def by_all_outcomes(only_first, only_second):
    """Throw the coins in all ways, and count those at least as far from even."""
    throws, far = only_first + only_second, abs(only_first - only_second)
    ways = sum(abs(2 * sum(coins) - throws) >= far for coins in product((0, 1), repeat=throws))
    return ways / 2**throws


def by_fractions(only_first, only_second):
    """Add whole numbers, from either end; rounded once."""
    throws, far = only_first + only_second, abs(only_first - only_second)
    ways = sum(math.comb(throws, heads) for heads in range(throws + 1) if abs(2 * heads - throws) >= far)
    return float(Fraction(ways, 2**throws))


@pytest.mark.parametrize("throws", range(13))
def test_small_counts_agree_with_all_outcomes(throws):
    for first in range(throws + 1):
        assert mcnemar_p_value(first, throws - first) == pytest.approx(
            by_all_outcomes(first, throws - first), rel=1e-14
        )


@given(st.integers(0, 700), st.integers(0, 700))
def test_larger_counts_agree_with_whole_numbers(first, second):
    assert mcnemar_p_value(first, second) == pytest.approx(by_fractions(first, second), rel=1e-12, abs=1e-300)
    assert mcnemar_p_value(first, second) == mcnemar_p_value(second, first)


def test_published_values():
    # R: binom.test(1, 10)$p.value, binom.test(5, 20)$p.value, and the usual table of the sign test
    assert mcnemar_p_value(1, 9) == pytest.approx(0.021484375)
    assert mcnemar_p_value(15, 5) == pytest.approx(0.04138947)
    assert mcnemar_p_value(0, 6) == 0.03125
    assert mcnemar_p_value(0, 0) == mcnemar_p_value(7, 7) == 1.0
    assert mcnemar_p_value(4, 5) == 1.0  # as near to even as nine can be


@pytest.mark.parametrize("difference", [2, 100, 500, 1_000])
def test_either_way_of_counting_gives_the_same(monkeypatch, difference):
    first, second = 5_000 + difference // 2, 5_000 - difference // 2
    exact = mcnemar_p_value(first, second)
    monkeypatch.setattr(comparison, "EXACT_UP_TO", 0)
    assert mcnemar_p_value(first, second) == pytest.approx(exact, rel=1e-8)


def test_very_large_counts_follow_the_normal_distribution():
    first, second = 500_500, 499_500
    z = (first - second - 1) / math.sqrt(first + second)  # with the continuity correction
    assert mcnemar_p_value(first, second) == pytest.approx(math.erfc(z / math.sqrt(2)), rel=1e-4)
    assert mcnemar_p_value(1_000_000, 0) == 0.0
    assert 0 <= mcnemar_p_value(20_000, 10) < 1e-300


@given(st.lists(st.tuples(*[st.integers(0, 9)] * 3), min_size=1, max_size=60))
def test_counts_agree_with_counting_one_by_one(triples):
    targets, preds, others = torch.tensor(triples).T
    found = compare(torch.eye(10)[preds], torch.eye(10)[others], targets)
    right = [(target == pred, target == other) for target, pred, other in triples]
    assert found.both == right.count((True, True))
    assert found.only_this == right.count((True, False))
    assert found.only_other == right.count((False, True))
    assert found.neither == right.count((False, False))
    assert found.count == len(triples)
    assert found.accuracy == pytest.approx(sum(this for this, _ in right) / len(triples))
    assert found.other_correct == sum(other for _, other in right)
    assert found.other_accuracy == pytest.approx(found.other_correct / len(triples))


@pytest.mark.parametrize(
    ("this", "other", "said"),
    [
        (0, 0, "neither network is better on these images"),
        (8, 8, "neither network is better on these images"),
        (1, 9, "the other network is better, which is unlikely to be chance"),
        (9, 1, "this network is better, which is unlikely to be chance"),
        (2, 8, "no clear difference: that the other network reads more of them may be chance"),  # p = 0.11
        (0, 5, "no clear difference: that the other network reads more of them may be chance"),  # p = 0.0625
    ],
)
def test_what_is_concluded(this, other, said):
    assert Comparison(both=50, only_this=this, only_other=other, neither=3).conclusion == said
