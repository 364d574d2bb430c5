"""The changed copies do what their names say, measured apart from how they are made; and always the same."""

import math
from dataclasses import astuple
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from digitnet.data import variants
from digitnet.data.strokes import draw_strokes
from digitnet.data.variants import VARIANTS, Variant, vary

IMAGES, TARGETS = draw_strokes(64, seed=3)
SMALL = vary(IMAGES, Variant(name="", scale=0.6))  # well within the frame, so that nothing is lost
Y, X = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")


def centres(images):
    """Return the centre of mass of each image: x and y, (N,) each, in pixels."""
    ink = images[:, 0].double()
    mass = ink.sum((1, 2))
    return (ink * X).sum((1, 2)) / mass, (ink * Y).sum((1, 2)) / mass


def axes(images):
    """Return the angle of each image's long axis in degrees, counterclockwise, and its ink's variance, (N,) each."""
    ink = images[:, 0].double()
    mass = ink.sum((1, 2))
    x, y = centres(images)
    dx, dy = X - x[:, None, None], -(Y - y[:, None, None])
    xx, yy, xy = ((ink * a * b).sum((1, 2)) / mass for a, b in ((dx, dx), (dy, dy), (dx, dy)))
    return torch.rad2deg(torch.atan2(2 * xy, xx - yy) / 2), xx + yy


def ink(images):
    return images.float().sum((1, 2, 3))


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_each_copy_is_of_the_same_form_always_the_same_and_another(variant):
    before = IMAGES.clone()
    first = vary(IMAGES, variant)
    assert (first.shape, first.dtype) == (IMAGES.shape, torch.uint8)
    assert torch.equal(first, vary(IMAGES, variant))
    assert torch.equal(IMAGES, before)
    assert (first != IMAGES).flatten(1).any(1).all()
    assert first.float().std() > 10  # no copy is empty or flat


def test_without_a_strength_the_images_stay_bit_for_bit():
    noise = torch.randint(256, (40, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    assert torch.equal(vary(noise, Variant(name="")), noise)


def test_no_strength_is_nearly_no_change():
    for strength in ({"left_turn_deg": 1e-5}, {"scale": 1 + 1e-6}, {"blur_px": 0.05}, {"grow_px": 1e-4}):
        changed = vary(IMAGES, Variant(name="", **strength))
        assert (changed.int() - IMAGES.int()).abs().max() <= 1, strength


def test_the_variants_differ_and_their_names_fit_the_table():
    assert len({astuple(variant)[1:] for variant in VARIANTS}) == len({variant.name for variant in VARIANTS})
    assert len(VARIANTS) == len({variant.name for variant in VARIANTS})
    assert max(len(variant.name) for variant in VARIANTS) <= 22


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_names_say_the_strengths(variant):
    number = float("".join(c for c in variant.name if c.isdigit() or c == "."))
    sign = -1 if {"left", "up"} & set(variant.name.split()) and "shifted" in variant.name else 1
    sign = -1 if variant.name.startswith(("thin", "rotated right")) else sign
    share = 100 if "%" in variant.name else 1
    changed = [
        value
        for value, still in zip(astuple(variant)[1:], astuple(Variant(name=""))[1:], strict=True)
        if value != still
    ]
    assert changed == [sign * number / share]


@given(st.integers(-5, 5), st.integers(-5, 5))
def test_a_shift_moves_the_centre_of_mass_by_just_so_many_pixels(right, down):
    shifted = vary(SMALL, Variant(name="", right_px=right, down_px=down))
    (x, y), (x0, y0) = centres(shifted), centres(SMALL)
    assert torch.allclose(x - x0, torch.tensor(float(right), dtype=torch.float64))
    assert torch.allclose(y - y0, torch.tensor(float(down), dtype=torch.float64))


def test_a_shift_brings_in_black_and_loses_what_passes_the_edge():
    white = torch.full((1, 1, 28, 28), 255, dtype=torch.uint8)
    shifted = vary(white, Variant(name="", right_px=3, down_px=-2))[0, 0]
    assert (shifted[:26, 3:] == 255).all()
    assert shifted.sum() == 255 * 26 * 25  # all else is black


@pytest.mark.parametrize("degrees", [-30, -15, 15, 30])
def test_a_turn_turns_the_long_axis_counterclockwise(degrees):
    ones = SMALL[TARGETS == 1]
    turned = axes(vary(ones, Variant(name="", left_turn_deg=degrees)))[0]
    change = (turned - axes(ones)[0] + 90) % 180 - 90  # an axis has no direction
    assert len(ones) >= 4
    assert (change - degrees).abs().max() < 1.5


@pytest.mark.parametrize("variant", [v for v in VARIANTS if v.left_turn_deg], ids=lambda variant: variant.name)
def test_a_turn_is_pillows(variant):
    for image, turned in zip(IMAGES[:8], vary(IMAGES[:8], variant), strict=True):
        canvas = Image.fromarray(np.pad(image[0].numpy(), 10))  # Pillow mixes no black in at the edge
        expected = np.asarray(canvas.rotate(variant.left_turn_deg, Image.Resampling.BILINEAR))[10:-10, 10:-10]
        assert np.abs(expected.astype(int) - turned[0].numpy()).max() <= 2


@pytest.mark.parametrize("scale", [0.7, 0.85, 1.15, 1.3])
def test_a_scale_scales_lengths_about_the_middle(scale):
    scaled = vary(SMALL, Variant(name="", scale=scale))
    (x, y), (x0, y0) = centres(scaled), centres(SMALL)
    assert ((axes(scaled)[1] / axes(SMALL)[1]).sqrt() / scale - 1).abs().max() < 0.06
    assert ((ink(scaled) / ink(SMALL)).sqrt() / scale - 1).abs().max() < 0.06
    assert ((x - 13.5) - scale * (x0 - 13.5)).abs().max() < 0.3
    assert ((y - 13.5) - scale * (y0 - 13.5)).abs().max() < 0.3


@pytest.mark.parametrize("width", [0.75, 1.25])
def test_a_blur_is_gaussian(width):
    point = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    point[0, 0, 12:15, 12:15] = 255
    blurred = vary(point, Variant(name="", blur_px=width))[0, 0].double()
    edges = torch.tensor([[(k + d) for d in range(3)] for k in range(28)], dtype=torch.float64)
    profile = torch.exp(-0.5 * ((edges - 14) / width) ** 2).sum(1) / (width * math.sqrt(2 * math.pi))
    assert (blurred - 255 * torch.outer(profile, profile)).abs().max() < 2
    before, after = axes(SMALL)[1], axes(vary(SMALL, Variant(name="", blur_px=width)))[1]
    assert (after - before - 2 * width**2).abs().mean() < 0.15  # variances add up, along either axis


def test_a_blur_reaches_the_edge_evenly():
    half = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    half[..., :14] = 255
    ours = vary(half, Variant(name="", blur_px=1.25))[0, 0, 14].numpy()
    theirs = np.asarray(Image.fromarray(half[0, 0].numpy()).filter(ImageFilter.GaussianBlur(1.25)))[14]
    assert np.abs(ours[5:23].astype(int) - theirs[5:23]).max() <= 6  # Pillow's is three boxes


@pytest.mark.parametrize("share", [0.1, 0.2])
def test_noise_has_its_standard_deviation_and_no_pattern(share):
    grey = torch.full((1_200, 1, 28, 28), 128, dtype=torch.uint8)  # more than a chunk of images
    change = (vary(grey, Variant(name="", noise=share)).double() - 128) / 255
    assert change.std().item() == pytest.approx(share, rel=0.03)
    assert abs(change.mean().item()) < 0.001
    flat = change.flatten(1)
    assert torch.corrcoef(torch.stack([flat[0], flat[1], flat[500], flat[1_000]])).triu(1).abs().max() < 0.15
    assert abs(torch.corrcoef(torch.stack([flat[:, :-1].flatten(), flat[:, 1:].flatten()]))[0, 1]) < 0.01


def test_thin_has_less_ink_than_plain_than_thick():
    steps = [ink(vary(IMAGES, Variant(name="", grow_px=amount))) for amount in (-0.6, -0.3, 0.0, 0.5, 1.0)]
    for less, more in pairwise(steps):
        assert (less < more).all()


@pytest.mark.parametrize("amount", [-1.0, -0.6, -0.3, 0.5, 1.0])
def test_each_edge_of_a_stroke_moves_by_so_much(amount):
    bar = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    bar[0, 0, 6:22, 11:16] = 255  # 5 pixels wide
    for image in (bar, bar.mT):
        widths = vary(image, Variant(name="", grow_px=amount))[0, 0].double() / 255
        across = widths[14] if image is bar else widths[:, 14]
        assert across.sum().item() == pytest.approx(5 + 2 * amount, abs=0.02)


@pytest.mark.parametrize("amount", [-0.6, 0.5, 1.0])
def test_a_slanting_edge_moves_by_about_as_much(amount):
    slant = ((X + Y - 27).abs() <= 4.01).to(torch.uint8)[None, None] * 255
    width = vary(slant, Variant(name="", grow_px=amount))[0, 0, 14].double().sum() / 255 / math.sqrt(2)
    before = slant[0, 0, 14].double().sum() / 255 / math.sqrt(2)
    assert (width - before).item() / 2 == pytest.approx(amount, rel=0.1)


def test_the_border_takes_no_part_in_thinning():
    white = torch.full((1, 1, 28, 28), 255, dtype=torch.uint8)
    thin = vary(white, Variant(name="", grow_px=-1.0))[0, 0]
    assert (thin[1:-1, 1:-1] == 255).all()
    assert thin.sum() == 255 * 26 * 26  # black is outside


def test_chunks_leave_no_trace(monkeypatch):
    for variant in VARIANTS:
        if not variant.noise:
            whole = vary(IMAGES, variant)
            monkeypatch.setattr(variants, "CHUNK", 7)
            assert torch.equal(vary(IMAGES, variant), whole), variant.name
            monkeypatch.undo()
