"""The split that cuts validation from training images is fixed for good."""

import hashlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from digitnet.data.digits import Digits, fingerprint, split, split_indices


def numbered(count):
    """Digits whose images tell their place in the set."""
    images = torch.zeros(count, 1, 28, 28, dtype=torch.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = torch.arange(count) % 256, torch.arange(count) // 256
    targets = torch.arange(count) % 10
    return Digits(name="some", images=images, targets=targets, fingerprint=fingerprint(images, targets))


def places(digits):
    corners = digits.images[:, 0, 0, :2].long()
    assert torch.equal(digits.targets, (corners[:, 0] + 256 * corners[:, 1]) % 10)
    return (corners[:, 0] + 256 * corners[:, 1]).tolist()


def test_the_split_of_mnist_never_changes():
    train, validation = split_indices(60_000)
    hashes = [hashlib.sha256(indices.numpy().tobytes()).hexdigest()[:16] for indices in (train, validation)]
    assert hashes == GOLDEN
    _, digits = split(numbered(60_000))
    assert digits.split_hash == GOLDEN[1]  # what a checkpoint records
    assert len(digits) == 5_000


GOLDEN = ["486edffe0faffba9", "e458be6ce6dd5772"]


@pytest.mark.parametrize(("count", "size"), [(10, 1), (99, 9), (1_000, 100), (49_990, 4_999), (60_000, 5_000)])
def test_a_tenth_is_kept_for_validation_and_at_most_5000(count, size):
    train, validation = split(numbered(count))
    assert (len(train), len(validation)) == (count - size, size)


@given(st.integers(10, 3_000), st.data())
def test_parts_are_disjoint_and_whole_and_validation_does_not_depend_on_train_size(count, data):
    digits = numbered(count)
    train, validation = split(digits)
    assert sorted(places(train) + places(validation)) == list(range(count))
    size = data.draw(st.integers(1, len(train)))
    fewer, same = split(digits, size)
    assert len(fewer) == size
    assert set(places(fewer)) <= set(places(train))
    assert places(same) == places(validation)
    assert places(fewer) == sorted(places(fewer))
    assert fewer.split_hash == train.split_hash == validation.split_hash is not None
    assert fewer.fingerprint == digits.fingerprint


def test_few_images_are_spread_over_the_set():
    few, _ = split(numbered(1_000), 90)
    assert all(any(start <= place < start + 250 for place in places(few)) for start in (0, 250, 500, 750))


def test_a_fingerprint_sees_images_targets_and_order():
    digits = numbered(20)
    images, targets = digits.images, digits.targets
    changed = images.clone()
    changed[7, 0, 27, 27] = 1
    other_shape = images.reshape(20, 1, 14, 56)
    prints = [
        fingerprint(images, targets),
        fingerprint(changed, targets),
        fingerprint(images, targets.flip(0)),
        fingerprint(images.flip(0), targets.flip(0)),
        fingerprint(other_shape, targets),
    ]
    assert len(set(prints)) == 5
    assert prints[0] == fingerprint(images.clone(), targets.to(torch.uint8))
    assert len(prints[0]) == 16
