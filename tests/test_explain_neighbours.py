"""The nearest digits against brute force, one pair at a time."""

import math

import pytest
import torch
from explained import CONFIGS, digits, network

from digitnet.explain.image.neighbours import mean_digit, nearest_by_each
from digitnet.explain.trace import last_hidden, represent


@pytest.mark.parametrize("name", CONFIGS)
def test_the_nearest_are_those_of_brute_force(name):
    model, (images, targets), (mine, _) = network(name), digits(60), digits(1, seed=9)
    many, one = represent(model, images), represent(model, mine)
    found = nearest_by_each(one, many, targets, 5, last_hidden(model))
    names = [last_hidden(model), "pixels"] if last_hidden(model) != "pixels" else ["pixels"]
    assert [part.name for part in found] == names
    for part in found:
        place = [representation.name for representation in many].index(part.name)
        own = one[place].features[0].tolist()
        apart = [math.dist(own, row) for row in many[place].features.tolist()]
        order = sorted(range(60), key=apart.__getitem__)[:5]
        assert part.searched == 60
        assert [neighbour.index for neighbour in part.nearest] == order
        assert [neighbour.digit for neighbour in part.nearest] == targets[order].tolist()
        assert [n.distance for n in part.nearest] == pytest.approx([apart[i] for i in order], rel=1e-5)


def test_a_digit_is_its_own_nearest():
    model, (images, targets) = network("plain"), digits(30)
    many = represent(model, images)
    (hidden, pixels) = nearest_by_each(represent(model, images[17:18]), many, targets, 1, last_hidden(model))
    for part in (hidden, pixels):
        assert part.nearest[0].index == 17
        assert part.nearest[0].distance == pytest.approx(0, abs=1e-4)


def test_of_few_digits_there_are_few_neighbours():
    model, (images, targets) = network("mlp"), digits(3)
    many = represent(model, images)
    assert len(nearest_by_each(many, many, targets, 3, "pixels")[0].nearest) == 3


def test_the_mean_digit_is_the_mean():
    images, _ = digits(9)
    torch.testing.assert_close(mean_digit(images), (images / 255).sum(0) / 9)
