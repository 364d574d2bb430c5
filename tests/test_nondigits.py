"""Drawings that are no digits: a repeatable stream, framed as digits are, and each kind against its rule by hand."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from digitnet.data import nondigits, strokes
from digitnet.data.glyphs import read_glyphs
from digitnet.data.letters import LETTERS
from digitnet.data.nondigits import draw_nondigits
from digitnet.data.strokes import draw_strokes
from digitnet.data.templates import compile_letters

GLYPHS = read_glyphs(LETTERS)


@pytest.fixture(scope="module")
def digits():
    return draw_strokes(400, seed=5)


@pytest.fixture(scope="module")
def sample(digits):
    return draw_nondigits(2000, *digits, seed=0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# The stream.


def test_images_have_the_form_of_mnist_and_all_differ(sample):
    assert (sample.shape, sample.dtype) == ((2000, 1, 28, 28), torch.uint8)
    assert len(torch.unique(sample.flatten(1), dim=0)) > 1900  # of few digits, some are turned twice
    assert (sample == 0).float().mean() > 0.6


@pytest.mark.parametrize("count", [0, 1, 999, 1001])
def test_the_first_are_the_same_however_many_are_asked_for(digits, sample, count):
    assert torch.equal(draw_nondigits(count, *digits, seed=0), sample[:count])


def test_seeds_and_chunks_differ(digits, sample):
    other = draw_nondigits(1000, *digits, seed=1)
    blank = (other == 0).flatten(1).all(1)
    for images in (sample[:1000], sample[1000:]):
        assert ((other != images).flatten(1).any(1) | blank).all()
    assert (sample[:1000] != sample[1000:]).flatten(1).any(1).float().mean() > 0.99


def test_global_randomness_is_neither_used_nor_moved(digits, sample):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    assert torch.equal(draw_nondigits(10, *digits, seed=0), sample[:10])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("threads", [1, 3])
def test_the_number_of_threads_changes_nothing(digits, sample, threads):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        assert torch.equal(draw_nondigits(2000, *digits, seed=0), sample)
    finally:
        torch.set_num_threads(before)


def test_the_digits_given_decide_on_turned_ones_and_pairs_alone(digits, sample):
    before = digits[0].clone()
    others = draw_nondigits(1000, draw_strokes(400, seed=6)[0], digits[1], seed=0)
    changed = (others != sample[:1000]).flatten(1).any(1).sum()
    assert 175 <= changed <= 180  # of a thousand, 100 turned and 80 pairs
    assert torch.equal(digits[0], before)


SHARES = {"letters": 420, 1: 50, 2: 120, 3: 100, 4: 80, "turned": 100, "pairs": 80, "blots": 50}  # of a thousand


def test_every_thousand_has_so_many_of_each_kind_in_random_order(monkeypatch, digits):
    numbers = {kind: number for number, kind in enumerate(SHARES)}

    def mark(kind, count):
        return torch.full((count, 1, 28, 28), numbers[kind], dtype=torch.uint8)

    for kind in ("letters", "turned", "pairs", "blots"):
        monkeypatch.setattr(nondigits, f"_{kind}", lambda count, *_, kind=kind: mark(kind, count))
    monkeypatch.setattr(nondigits, "_scribbles", lambda count, strokes, _: mark(strokes, count))
    drawn = draw_nondigits(2000, *digits, seed=0)[:, 0, 0, 0].long()
    for thousand in (drawn[:1000], drawn[1000:]):
        assert torch.bincount(thousand, minlength=8).tolist() == list(SHARES.values())
        assert torch.bincount(thousand[:500], minlength=8).min() > 10
    assert not torch.equal(drawn[:1000], drawn[1000:])


@pytest.mark.parametrize("classes", [[0], [1], [8, 5], [3]])
def test_few_or_lopsided_digits_are_enough(digits, classes):
    chosen = torch.isin(digits[1], torch.tensor(classes)).nonzero()[:1, 0]
    images = draw_nondigits(1000, digits[0][chosen], digits[1][chosen], seed=0)
    assert images.flatten(1).any(1).float().mean() > 0.98


# Framing.


def sides(images, threshold=64):
    """The longer side of the ink of each image, (N,) in pixels."""
    found = []
    for image in (images[:, 0] >= threshold).numpy():
        rows, columns = image.any(1).nonzero()[0], image.any(0).nonzero()[0]
        found.append(max(np.ptp(rows), np.ptp(columns)) + 1)
    return np.array(found)


def test_something_is_drawn_in_nearly_every_image(sample):
    assert (sample.amax((1, 2, 3)) >= 128).float().mean() > 0.99
    assert (sample.float().sum((1, 2, 3)) / 255 > 10).float().mean() > 0.98


@pytest.mark.parametrize("kind", ["letters", 1, 2, 3, 4])
def test_strokes_fill_a_box_of_20_pixels_about_the_middle(kind):
    images = nondigits._letters(500, generator()) if kind == "letters" else nondigits._scribbles(500, kind, generator())
    assert images.shape == (500, 1, 28, 28)
    assert images.flatten(1).any(1).all()
    longest = sides(images)
    assert longest.max() <= 20
    assert (longest >= 19).mean() > 0.97
    ink, places = images[:, 0].double(), torch.arange(28.0).double()
    for axis in (1, 2):  # MNIST's centre is at 14, counted from the middle of the first pixel
        centre = ink.sum(axis) @ places / ink.sum((1, 2))
        assert ((centre - 14).abs() < 0.501).float().mean() > 0.9


# Letters.


@pytest.mark.parametrize("number", range(len(GLYPHS)))
def test_letters_are_sound(number):
    weight, shapes = GLYPHS[number]
    assert 0 < weight <= 2
    assert len({tuple(map(len, shape)) for shape in shapes}) == 1, "shapes of a letter must match point for point"
    for shape in shapes:
        assert all(len(stroke) >= 2 for stroke in shape)
        assert all(0 <= x <= 1 and 0 <= y <= 1 for stroke in shape for x, y, _ in stroke)
        assert all(a[:2] != b[:2] for stroke in shape for a, b in pairwise(stroke))
        height, width = (np.ptp([point[axis] for stroke in shape for point in stroke]) for axis in (1, 0))
        assert max(height, width) >= 0.7  # the hand's unevenness is a share of the unit box


def test_no_letter_is_there_twice():
    assert len({str(shapes) for _, shapes in GLYPHS}) == len(GLYPHS)


def test_every_letter_is_met_as_often_as_its_weight_says():
    weights = torch.tensor([weight for weight, _ in GLYPHS])
    chosen = strokes._choose(torch.zeros(40_000, dtype=torch.int64), compile_letters(), generator())
    counts = torch.bincount(chosen, minlength=len(weights))
    expected = 40_000 * weights / weights.sum()
    assert len(counts) == len(weights)
    assert ((counts - expected).abs() < 5 * expected.sqrt()).all()


# Scribbles.


def de_casteljau(nodes, share):
    """A point of a Bezier curve, by halving lines over and over."""
    while len(nodes) > 1:
        nodes = (1 - share) * nodes[:-1] + share * nodes[1:]
    return nodes[0]


@pytest.mark.parametrize("number", [1, 3])
def test_paths_are_curves_polygons_and_arcs(number):
    each = 16
    nodes = torch.rand(300, number, 4, 2, generator=generator(1)) - 0.5
    along = np.linspace(0, 1, each)
    found = {"curve": 0, "polygon": 0, "arc": 0}
    paths = nondigits._paths(nodes, each, generator())
    assert paths.shape == (300, number, each, 2)
    most = 0.75 if number == 1 else 1.05
    for points, path in zip(nodes.flatten(0, 1).double().numpy(), paths.flatten(0, 1).double().numpy(), strict=True):
        curve = np.stack([de_casteljau(points, share) for share in along])
        polygon = np.stack([np.interp(along, np.linspace(0, 1, 4), points[:, axis]) for axis in (0, 1)], 1)
        if np.allclose(path, curve, atol=1e-5):
            found["curve"] += 1
        elif np.allclose(path, polygon, atol=1e-5):
            found["polygon"] += 1
        else:  # an arc of an ellipse
            unit = (path - points[1] / 2) / (0.1 + 0.8 * abs(points[2]))
            np.testing.assert_allclose((unit**2).sum(1), 1, atol=1e-4)
            turns = np.ptp(np.unwrap(np.arctan2(unit[:, 1], unit[:, 0]))) / (2 * math.pi)
            assert 0.299 < turns < most + 0.001
            found["arc"] += 1
    shares = np.array(list(found.values())) / (300 * number)
    np.testing.assert_allclose(shares, [0.55, 0.25, 0.2], atol=0.08)


def are_lines(nodes):
    """Whether the points of each stroke (..., 4, 2) lie evenly on a line."""
    line = np.linspace(nodes[..., 0, :], nodes[..., -1, :], 4, axis=-2)
    return np.isclose(nodes, line, atol=1e-5).all((-1, -2))


def test_many_strokes_are_straight_and_many_of_those_level_or_upright():
    nodes = nondigits._nodes(1000, 3, generator()).numpy()
    level, upright = (np.ptp(nodes[..., axis], axis=2) == 0 for axis in (1, 0))
    straight = are_lines(nodes)
    assert straight.mean() == pytest.approx(0.45, abs=0.03)
    assert level.mean() == pytest.approx(0.16, abs=0.02)
    assert upright.mean() == pytest.approx(0.16, abs=0.02)
    assert (straight | ~(level | upright)).all()
    assert not are_lines(nondigits._nodes(1000, 1, generator()).numpy()).any()  # a line by itself is a 1
    assert abs(nodes).max() < 0.5 + 5 * 0.06


def test_about_half_of_the_strokes_begin_at_a_point_of_an_earlier_one():
    nodes = nondigits._nodes(4000, 2, generator()).numpy()
    free = nodes[~are_lines(nodes).any(1)]  # whose points are still where they were
    joined = (free[:, 0] == free[:, 1, :1]).all(2)
    assert joined.any(1).mean() == pytest.approx(0.55, abs=0.04)
    assert (joined.mean(0) > 0.1).all()


# Digits that are none any more.

SYMMETRIES = {  # how an image is turned, counter-clockwise, or mirrored
    "as it is": lambda image: image,
    "90": np.rot90,
    "180": lambda image: image[::-1, ::-1],
    "270": lambda image: np.rot90(image, 3),
    "mirrored": lambda image: image[:, ::-1],
    "upside down": lambda image: image[::-1],
    "transposed": lambda image: image.T,
    "across": lambda image: np.rot90(image, 2).T,
}
# What is still a digit, its own or another: a turned 8 or 0, a mirrored 2 that is a 5, a 6 on its head, and so on.
STILL = {
    "as it is": set(range(10)),
    "upside down": set(range(10)),
    "transposed": set(range(10)),
    "across": set(range(10)),
    "90": {0, 8},
    "180": {0, 1, 2, 5, 6, 8, 9},
    "270": {0, 8},
    "mirrored": {0, 1, 2, 5, 8},
}


def test_turned_digits_are_of_no_class_that_stays_a_digit():
    # An image of noise for each class tells which class it was, and how it was turned.
    marks = torch.randint(256, (10, 1, 28, 28), dtype=torch.uint8, generator=generator(2))
    known = {
        turn(mark[0].numpy()).tobytes(): (name, digit)
        for digit, mark in enumerate(marks)
        for name, turn in SYMMETRIES.items()
    }
    images = nondigits._turned(2001, marks, torch.arange(10), generator())
    found = [known[image[0].numpy().tobytes()] for image in images]
    assert not [(name, digit) for name, digit in found if digit in STILL[name]]
    wanted = {(name, digit) for name in STILL for digit in range(10) if digit not in STILL[name]}
    assert set(found) == wanted - {("270", 1)}  # a 1 turned one way is enough
    counts = {name: sum(other == name for other, _ in found) for name in ("90", "180", "270", "mirrored")}
    assert counts == {"90": 500, "180": 500, "270": 500, "mirrored": 501}


def test_pairs_are_two_digits_side_by_side_or_one_over_the_other(digits):
    three = digits[0][:3]
    pixels = three[:, 0].numpy().astype(float)
    squeezed = pixels[:, 4:24, 4:24].reshape(3, 20, 10, 2).mean(3)
    over, beside = [], []
    for left in range(3):
        for right in range(3):
            over.append(np.maximum(pixels[left], pixels[right]))
            box = np.concatenate([squeezed[left], squeezed[right]], 1)
            beside.append(np.pad(np.floor(box * 255 / box.max() + 1e-3), 4))
    images = nondigits._pairs(300, three, generator())[:, 0].numpy().astype(float)
    is_over = (images[:, None] == np.stack(over)).all((2, 3))
    is_beside = (abs(images[:, None] - np.stack(beside)) <= 1).all((2, 3))
    assert (is_over.any(1) ^ is_beside.any(1)).all()
    assert is_over.any(1).mean() == pytest.approx(0.5, abs=0.12)
    assert is_over.any(0).all()
    assert is_beside.any(0).all()


# Blots.


def bicubic(knots, size, bend=-0.75):
    """The matrix (size, knots) of cubic convolution, ends held; Keys (1981), with the bend that torch has."""
    matrix = np.zeros((size, knots))
    for row, place in enumerate(np.linspace(0, knots - 1, size)):
        for tap in range(math.floor(place) - 1, math.floor(place) + 3):
            d = abs(place - tap)
            near = (bend + 2) * d**3 - (bend + 3) * d**2 + 1
            far = bend * (d**3 - 5 * d**2 + 8 * d - 4)
            matrix[row, min(max(tap, 0), knots - 1)] += near if d <= 1 else far if d < 2 else 0
    return matrix


def test_blots_are_smooth_fields_cut_at_a_level():
    count, draws = 200, generator(3)
    knots = torch.randn(count, 1, 6, 6, generator=draws).double().numpy()[:, 0]
    level, width, kind = torch.rand(3, count, 1, 1, generator=draws).double().numpy()
    curves = bicubic(6, 20)
    field = curves @ knots @ curves.T
    area = np.clip((field - 0.2 - 0.8 * level) * 3 + 0.5, 0, 1)
    outline = np.clip((1 - abs(field) / (0.25 + 0.2 * width)) * 2, 0, 1)
    expected = np.pad(255 * np.where(kind < 0.5, area, outline), ((0, 0), (4, 4), (4, 4)))
    found = nondigits._blots(count, generator(3))[:, 0].numpy().astype(float)
    np.testing.assert_allclose(found, expected, atol=1.01)  # rounded down
    assert (found.sum((1, 2)) > 0).mean() > 0.95
