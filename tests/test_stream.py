"""A stream against one drawn by hand, chunk by chunk: any range of it is the same, at the same cost."""

import hashlib

import pytest
import torch

from digitnet.data import stream
from digitnet.data.stream import CHUNK_SIZE, draw_range

CHUNK = 1000  # written out: another size would change every stream there is


def random_pixels(count, generator):
    """Draw what is no picture of anything, and a target for each."""
    images = torch.randint(256, (count, 1, 28, 28), dtype=torch.uint8, generator=generator)
    return images, torch.randint(10, (count,), generator=generator)


def by_hand(seed, chunks):
    """The beginning of a stream, from a hash of its own for each chunk."""
    parts = []
    for chunk in range(chunks):
        digest = hashlib.blake2b(f"{seed}/{chunk}".encode(), digest_size=8).hexdigest()
        parts.append(random_pixels(CHUNK, torch.Generator().manual_seed(int(digest, 16) // 2)))
    return [torch.cat(part) for part in zip(*parts, strict=True)]


@pytest.fixture(scope="module")
def sample():
    return by_hand(0, 3)


@pytest.mark.parametrize(
    ("first", "count"), [(0, 10), (0, 1), (995, 10), (1000, 1000), (999, 1), (1999, 2), (2500, 0), (0, 0), (37, 2100)]
)
def test_a_range_is_the_same_whichever_is_asked_for(sample, first, count):
    images, targets = draw_range(random_pixels, count, seed=0, first=first)
    assert torch.equal(images, sample[0][first : first + count])
    assert torch.equal(targets, sample[1][first : first + count])


def test_only_the_chunks_that_are_asked_for_are_drawn():
    asked = []

    def draw(count, generator):
        asked.append(generator.initial_seed())
        return random_pixels(count, generator)

    draw_range(draw, 2, seed=5, first=10**15 - 1)
    assert sorted(asked) == sorted(stream.mix(5, chunk) for chunk in (10**15 // CHUNK - 1, 10**15 // CHUNK))
    assert CHUNK_SIZE == CHUNK


def test_neighbouring_seeds_and_chunks_have_nothing_in_common():
    assert len({stream.mix(seed, chunk) for seed in range(50) for chunk in range(50)}) == 2500
    assert stream.mix(1, 11) != stream.mix(11, 1)


def test_any_seed_is_taken():
    for seed in (-1, 2**64, 10**30):
        assert draw_range(random_pixels, 1, seed=seed)[0].any()


@pytest.mark.parametrize(("count", "first"), [(-1, 0), (1, -1)])
def test_negative_ranges_are_refused(count, first):
    with pytest.raises(ValueError, match=f"must not be negative, got count={count}, first={first}"):
        draw_range(random_pixels, count, seed=0, first=first)


@pytest.mark.parametrize("threads", [1, 3])
def test_each_worker_has_one_thread_and_all_are_given_back(sample, threads):
    before, seen = torch.get_num_threads(), []

    def draw(count, generator):
        seen.append(torch.get_num_threads())
        return random_pixels(count, generator)

    try:
        torch.set_num_threads(threads)
        assert torch.equal(draw_range(draw, 3000, seed=0)[0], sample[0])
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert seen == [1, 1, 1]


def test_what_goes_wrong_in_a_worker_is_raised_and_threads_are_given_back():
    before = torch.get_num_threads()

    def draw(*_):
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        draw_range(draw, 1, seed=0)
    assert torch.get_num_threads() == before
