"""The order of an epoch: every image once, from any place on, and as well shuffled as its window allows."""

import tracemalloc

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from digitnet.config import SHUFFLE_BLOCK, TrainConfig
from digitnet.data.order import Batches, part_start
from digitnet.device import derive_seed
from digitnet.trainer import epoch_batches

COUNTS = st.integers(1, 9_000)
SIZES = st.integers(1, 3_000)
WINDOWS = st.none() | st.integers(SHUFFLE_BLOCK, 10_000)
SEEDS = st.integers(0, 2**62)


def batches_of(count, batch_size=256, window=None, seed=1):
    return Batches(count=count, batch_size=batch_size, window=window, seed=seed)


@given(COUNTS, SIZES, WINDOWS, SEEDS)
def test_each_image_is_in_one_batch_and_batches_are_equal_to_within_one(count, batch_size, window, seed):
    batches = batches_of(count, batch_size, window, seed)
    whole = list(batches)
    assert torch.equal(torch.cat(whole).sort().values, torch.arange(count))
    sizes = [len(batch) for batch in whole]
    assert len(sizes) == len(batches) == -(-count // batch_size)
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1


@given(COUNTS, SIZES, WINDOWS, SEEDS, st.data())
def test_from_any_batch_on_it_is_the_rest_of_the_whole(count, batch_size, window, seed, data):
    batches = batches_of(count, batch_size, window, seed)
    whole = list(batches)
    first = data.draw(st.integers(0, len(whole)))
    rest = list(batches.begin(first))
    assert len(rest) == len(whole) - first
    assert all(torch.equal(one, other) for one, other in zip(rest, whole[first:], strict=True))
    assert batches.start(first) == sum(map(len, whole[:first]))


@given(COUNTS, SIZES, SEEDS)
def test_a_set_that_fits_into_the_window_is_shuffled_as_a_whole(count, batch_size, seed):
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    expected = order.tensor_split(-(-count // batch_size))  # as it was before there were windows
    for window in (None, max(count, SHUFFLE_BLOCK)):
        found = list(batches_of(count, batch_size, window, seed))
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@given(st.integers(SHUFFLE_BLOCK + 1, 60_000), st.integers(SHUFFLE_BLOCK, 20_000), SEEDS)
def test_images_that_are_near_in_the_order_are_of_few_blocks(count, window, seed):
    order = torch.cat(list(batches_of(count, 500, window, seed)))
    blocks = order // SHUFFLE_BLOCK
    held = max(1, window // SHUFFLE_BLOCK)
    for piece in blocks.split(SHUFFLE_BLOCK * held // 2):  # not aligned with windows: it touches two at most, or three
        assert len(piece.unique()) <= 3 * held


@given(st.integers(0, 5_000), st.integers(1, 300))
def test_parts_begin_where_tensor_split_cuts(count, parts):
    starts = [part_start(count, parts, part) for part in range(parts + 1)]
    sizes = [len(part) for part in torch.arange(count).tensor_split(parts)]
    assert starts == [sum(sizes[:part]) for part in range(parts + 1)]


def test_blocks_come_in_another_order_each_epoch():
    config = TrainConfig(epochs=2, shuffle_window=2_048)
    first, second, again = (torch.cat(list(epoch_batches(50_000, epoch, config))) for epoch in (1, 2, 1))
    assert torch.equal(first, again)
    assert (first[:2_048] // SHUFFLE_BLOCK).unique().tolist() != (second[:2_048] // SHUFFLE_BLOCK).unique().tolist()
    assert epoch_batches(50_000, 2, config).seed == derive_seed(0, 2, "order")


def test_windows_are_shuffled_each_in_its_own_way():
    order = torch.cat(list(batches_of(4 * SHUFFLE_BLOCK, 64, SHUFFLE_BLOCK)))
    within = {tuple((window % SHUFFLE_BLOCK).tolist()) for window in order.split(SHUFFLE_BLOCK)}
    assert len(within) == 4


def test_a_huge_set_takes_neither_time_nor_memory():
    batches = batches_of(10**9, 256, 262_144)  # a permutation of all would take 8 GB
    tracemalloc.start()
    *_, last = (next(batches.begin(number)) for number in (0, 1_000_000, len(batches) - 1))
    assert len(last.unique()) == len(last) == 256
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()


def spread(window, count=1_000_000, batch_size=256):
    """Measure the class counts in batches of a set sorted by digit: chi-square over its 9 degrees of freedom, mean.

    1 is what a perfect shuffle has; the highest there can be, batches of one digit each, is 256.
    """
    batches = batches_of(count, batch_size, window)
    classes = [torch.bincount(batch * 10 // count, minlength=10).double() for batch in batches]
    expected = [float(counts.sum()) / 10 for counts in classes]
    chi = [float(((counts - each) ** 2).sum() / each) for counts, each in zip(classes, expected, strict=True)]
    return sum(chi) / len(chi) / 9


def test_a_window_mixes_digits_that_lie_apart():
    assert spread(None) == pytest.approx(1, abs=0.05)
    assert 1 < spread(262_144) < 2.2
    assert spread(16_384) > spread(65_536) > spread(262_144)
    assert spread(SHUFFLE_BLOCK) > 200  # a block of sorted digits is of one digit
