"""Digits drawn from strokes: a repeatable stream, MNIST's framing, and sound templates."""

import subprocess
import sys
from itertools import pairwise

import pytest
import torch

from digitnet.data import strokes, templates
from digitnet.data.glyphs import GLYPHS, read_glyphs
from digitnet.data.strokes import draw, draw_strokes


@pytest.fixture(scope="module")
def sample():
    return draw_strokes(3000, seed=0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def box_sides(images, threshold=64):
    """Height and width (N,) of the ink above a threshold."""
    ink = images[:, 0] >= threshold
    return [1 + ends.max(1).values - ends.min(1).values for ends in map(_ink_ends, (ink.any(2), ink.any(1)))]


def _ink_ends(lines):
    """The first and last line with ink (N, 2) of lines (N, 28)."""
    first = lines.float().argmax(1)
    last = lines.shape[1] - 1 - lines.flip(1).float().argmax(1)
    return torch.stack([first, last], 1)


def test_images_and_targets_have_the_form_of_mnist(sample):
    images, targets = sample
    assert images.shape == (3000, 1, 28, 28)
    assert images.dtype == torch.uint8
    assert targets.shape == (3000,)
    assert targets.dtype == torch.int64
    assert (images.amax((1, 2, 3)) >= 250).float().mean() > 0.99
    assert (images == 0).float().mean() > 0.7


@pytest.mark.parametrize(("first", "count"), [(0, 10), (995, 10), (2500, 0)])
def test_a_digit_is_the_same_whichever_range_is_asked_for(sample, first, count):
    images, targets = draw_strokes(count, seed=0, first=first)
    assert torch.equal(images, sample[0][first : first + count])
    assert torch.equal(targets, sample[1][first : first + count])


def test_seeds_and_chunks_differ(sample):
    images, targets = draw_strokes(1000, seed=1)
    assert not torch.equal(targets, sample[1][:1000])
    assert not torch.equal(sample[1][:1000], sample[1][1000:2000])
    assert (images != sample[0][:1000]).any((1, 2, 3)).all()


def test_global_randomness_is_neither_used_nor_moved(sample):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    images, _ = draw_strokes(10, seed=0)
    assert torch.equal(images, sample[0][:10])
    assert torch.equal(torch.get_rng_state(), before)


def test_the_number_of_threads_changes_nothing_and_is_left_alone(sample):
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            assert torch.equal(draw_strokes(2100, seed=0)[0], sample[0][:2100])
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_classes_are_equally_likely(sample):
    counts = torch.bincount(sample[1], minlength=10)
    assert counts.min() > 220
    assert counts.max() < 380


def test_no_two_digits_are_alike(sample):
    assert len(torch.unique(sample[0].flatten(1), dim=0)) == 3000


def test_draw_follows_its_targets_and_its_generator():
    targets = torch.arange(10).repeat(3)
    images = draw(targets, generator(1))
    assert images.shape == (30, 1, 28, 28)
    assert torch.equal(images, draw(targets, generator(1)))
    assert not torch.equal(images, draw(targets, generator(2)))
    assert draw(targets[:1], generator()).shape == (1, 1, 28, 28)
    assert draw(targets[:0], generator()).shape == (0, 1, 28, 28)


@pytest.mark.parametrize("extreme", [0.0, 1 - 2**-24])
def test_the_rarest_random_numbers_draw_digits_too(monkeypatch, extreme):
    # 0 comes once in 17 million: a million digits meet it.
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: torch.full(shape, extreme))
    images = draw(torch.arange(10), generator())
    assert (images.amax((1, 2, 3)) > 200).all()


def test_the_longest_side_of_the_ink_is_20_pixels(sample):
    height, width = box_sides(sample[0])
    longest = torch.maximum(height, width)
    assert longest.max() == 20
    assert (longest >= 19).float().mean() > 0.99


def test_the_centre_of_mass_is_in_the_middle(sample):
    ink = sample[0][:, 0].double()
    places = torch.arange(28).double()
    mass = ink.sum((1, 2))
    # MNIST shifts by whole pixels to (14, 14), counted from the middle of the first pixel.
    for centre in ((ink.sum(1) @ places) / mass, (ink.sum(2) @ places) / mass):
        assert (centre.mean() - 14).abs() < 0.03
        assert ((centre - 14).abs() < 0.501).float().mean() > 0.99


def test_pens_and_slants_vary(sample):
    ink = sample[0][sample[1] == 1][:, 0].float() / 255
    width = ink.sum((1, 2)) / 20
    assert width.quantile(0.05) < 2.5
    assert width.quantile(0.95) > 4
    places = torch.arange(28.0)
    top, bottom = ink[:, 4:10].sum(1), ink[:, 18:24].sum(1)
    lean = top @ places / top.sum(1) - bottom @ places / bottom.sum(1)
    assert lean.mean() > 1
    assert lean.min() < 0


@pytest.mark.parametrize("digit", range(10))
def test_templates_are_sound(digit):
    glyphs = read_glyphs(GLYPHS[digit])
    assert len(glyphs) >= 3
    for weight, shapes in glyphs:
        assert weight > 0
        assert len({tuple(map(len, shape)) for shape in shapes}) == 1, "shapes of a glyph must match point for point"
        for stroke in (stroke for shape in shapes for stroke in shape):
            assert len(stroke) >= 2
            assert all(0 <= x <= 1 and 0 <= y <= 1 for x, y, _ in stroke)
            assert all(a[:2] != b[:2] for a, b in pairwise(stroke))
        for shape in shapes:
            height = max(y for stroke in shape for _, y, _ in stroke) - min(y for stroke in shape for _, y, _ in stroke)
            assert height >= 0.85
            corners = [[corner for _, _, corner in stroke] for stroke in shape]
            assert corners == [[corner for _, _, corner in stroke] for stroke in shapes[0]]


def test_every_template_is_drawn_and_only_for_its_digit():
    compiled = templates.compile_digits()
    owners = [digit for digit in range(10) for _ in read_glyphs(GLYPHS[digit])]
    targets = torch.arange(10).repeat_interleave(3000)
    chosen = strokes._choose(targets, compiled, generator())
    assert set(chosen.tolist()) == set(range(len(owners)))
    assert torch.equal(torch.tensor(owners)[chosen], targets)


def test_templates_are_met_as_often_as_their_weights_say():
    weights = torch.tensor([weight for weight, _ in read_glyphs(GLYPHS[8])])
    first = sum(len(read_glyphs(GLYPHS[digit])) for digit in range(8))
    chosen = strokes._choose(torch.full((20000,), 8), templates.compile_digits(), generator()) - first
    shares = torch.bincount(chosen, minlength=len(weights)) / 20000
    torch.testing.assert_close(shares, weights / weights.sum(), atol=0.015, rtol=0)


def test_a_spline_meets_its_points_and_keeps_straight_lines_straight():
    corner = [(0.1, 0.2, False), (0.5, 0.9, True), (0.9, 0.2, False)]
    points = torch.tensor([point[:2] for point in corner])
    for rounded in (False, True):
        curve = templates._spline(corner, 9, rounded=rounded) @ points
        torch.testing.assert_close(curve[[0, 4, 8]], points)
    sharp = templates._spline(corner, 9, rounded=False) @ points
    torch.testing.assert_close(sharp[2], (points[0] + points[1]) / 2)
    line = [(0.0, 0.0, False), (0.1, 0.1, False), (0.7, 0.7, False), (1.0, 1.0, False)]
    drawn = templates._spline(line, 20, rounded=True) @ torch.tensor([point[:2] for point in line])
    torch.testing.assert_close(drawn[:, 0], drawn[:, 1])
    assert (drawn[1:, 0] > drawn[:-1, 0]).all()


def test_importing_strokes_imports_nothing_heavier_than_torch():
    code = "import sys, digitnet.data.strokes; assert not {'torchvision', 'PIL', 'rich', 'typer'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
