"""Augmented digits stay digits: each varied on its own, within the stated bounds, repeatable, and never a flip."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from digitnet.data import augment as module
from digitnet.data.augment import WIDTH, augment

STRENGTHS = ("ROTATION_RAD", "SCALE", "SHEAR", "SHIFT", "ELASTIC", "WIDTH", "INK", "NOISE")
DISTORTIONS = ("affine", "elastic", "all")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def draws(count):
    """Random numbers for so many images, all of which there are."""
    return module._Draws(generator(), count, None)


def blob(height=5.0, width=2.5, count=200):
    """Make copies of one soft spot, whose moments say how it was moved, turned and stretched."""
    y, x = torch.meshgrid(torch.arange(28.0) - 13.5, torch.arange(28.0) - 13.5, indexing="ij")
    return torch.exp(-((x / width) ** 2 + (y / height) ** 2) / 2).expand(count, 1, 28, 28).clone()


def seven(count=100):
    """Make copies of a crude 7, which no flip and no quarter turn leaves alike."""
    image = torch.zeros(28, 28)
    image[5:8, 8:20] = 1
    for row in range(8, 23):
        left = 18 - (row - 8) // 2
        image[row, left : left + 3] = 1
    return image.expand(count, 1, 28, 28).clone()


def only(monkeypatch, *kept):
    for name in STRENGTHS:
        if name not in kept:
            monkeypatch.setattr(module, name, (0.0, 0.0) if name == "INK" else 0.0)


def keep_none(monkeypatch):
    """Have all leave no image alone."""
    monkeypatch.setattr(module, "KEPT", 0.0)
    monkeypatch.setattr(module, "LEAST_INK", 0.0)


def moments(images):
    """Return centres (x, y) in pixels from the middle, and covariances (xx, yy, xy)."""
    axis = torch.arange(28.0) - 13.5
    share = images[:, 0] / images.sum((1, 2, 3)).view(-1, 1, 1)
    x, y = (share.sum(1) * axis).sum(1), (share.sum(2) * axis).sum(1)
    dx, dy = axis.view(1, 1, 28) - x.view(-1, 1, 1), axis.view(1, 28, 1) - y.view(-1, 1, 1)
    return x, y, (share * dx**2).sum((1, 2)), (share * dy**2).sum((1, 2)), (share * dx * dy).sum((1, 2))


def test_none_is_the_identity():
    images = seven(3)
    assert torch.equal(augment(images, "none", generator()), seven(3))


@pytest.mark.parametrize("name", DISTORTIONS)
def test_shape_range_and_input_are_kept(name):
    images = torch.rand(50, 1, 28, 28, generator=generator(1))
    before = images.clone()
    out = augment(images, name, generator())
    assert (out.shape, out.dtype) == (images.shape, torch.float32)
    assert out.min() >= 0
    assert out.max() <= 1
    assert torch.equal(images, before)


@pytest.mark.parametrize("name", DISTORTIONS)
def test_the_generator_alone_decides(name):
    first = augment(seven(), name, generator(5))
    torch.rand(3)  # torch's global generator has no part in it
    assert torch.equal(augment(seven(), name, generator(5)), first)
    assert not torch.equal(augment(seven(), name, generator(6)), first)


@pytest.mark.parametrize("name", DISTORTIONS)
def test_each_image_is_varied_on_its_own_and_each_time_anew(name, monkeypatch):
    keep_none(monkeypatch)
    noise = generator()
    out = torch.cat([augment(seven(20), name, noise), augment(seven(20), name, noise)]).flatten(1)
    assert (torch.cdist(out, out) + torch.eye(40)).min() > 0.1


@pytest.mark.parametrize("name", DISTORTIONS)
def test_without_strength_nothing_moves(name, monkeypatch):
    only(monkeypatch)
    torch.testing.assert_close(augment(seven(), name, generator()), seven(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("strength", STRENGTHS)
def test_each_strength_does_something(strength, monkeypatch):
    only(monkeypatch, strength)
    grey = 0.1 + 0.8 * seven()  # which has edges that ink can move
    change = (augment(grey, "all", generator()) - grey)[:, :, 3:-3, 3:-3].abs().amax((1, 2, 3))
    assert change.quantile(0.75) > 0.05
    only(monkeypatch)
    assert (augment(grey, "all", generator()) - grey)[:, :, 3:-3, 3:-3].abs().max() < 1e-4


def test_affine_does_not_bend_and_neither_it_nor_elastic_changes_widths_or_ink(monkeypatch):
    only(monkeypatch, "WIDTH", "INK", "NOISE")
    torch.testing.assert_close(augment(seven(), "elastic", generator()), seven(), atol=1e-4, rtol=0)
    only(monkeypatch, "ELASTIC", "WIDTH", "INK", "NOISE")
    torch.testing.assert_close(augment(seven(), "affine", generator()), seven(), atol=1e-4, rtol=0)


def varied(images, name, monkeypatch, *kept):
    """Distort by some strengths alone, with ink as it is; of all, every image."""
    only(monkeypatch, *kept)
    keep_none(monkeypatch)
    return augment(images, name, generator())


STRONGER = pytest.mark.parametrize(("name", "times"), [("affine", 1), ("elastic", 1), ("all", 1.5)])


@pytest.mark.parametrize("name", DISTORTIONS)
def test_shifts_reach_two_pixels_both_ways_and_no_further(monkeypatch, name):
    x, y, *_ = moments(varied(blob(3, 3), name, monkeypatch, "SHIFT"))
    for moved in (x, y):
        assert -2.01 < moved.min() < -1.8
        assert 1.8 < moved.max() < 2.01
    assert abs(torch.corrcoef(torch.stack([x, y]))[0, 1]) < 0.3


@STRONGER
def test_turns_reach_ten_degrees_both_ways_and_no_further(monkeypatch, name, times):
    x, y, xx, yy, xy = moments(varied(blob(), name, monkeypatch, "ROTATION_RAD"))
    turned = torch.rad2deg(torch.atan2(2 * xy, yy - xx) / 2) / times
    assert -10.2 < turned.min() < -9.5
    assert 9.5 < turned.max() < 10.2
    assert max(x.abs().max(), y.abs().max()) < 0.01


@STRONGER
def test_each_side_is_scaled_by_a_tenth_at_most(monkeypatch, name, times):
    _, _, xx, yy, xy = moments(varied(blob(4, 4), name, monkeypatch, "SCALE"))
    for spread in (xx, yy):
        side = (spread.sqrt() / moments(blob(4, 4, 1))[2].sqrt()).log() / times
        assert -0.105 < side.min() < -0.08
        assert 0.07 < side.max() < 0.105
    assert not torch.allclose(xx, yy, rtol=0.05)
    assert xy.abs().max() < 0.01


@STRONGER
def test_shears_lean_by_their_bound_at_most(monkeypatch, name, times):
    _, _, _, yy, xy = moments(varied(blob(4, 3), name, monkeypatch, "SHEAR"))
    lean = xy / yy / times  # how far each row moves aside for a row down
    assert -0.152 < lean.min() < -0.142
    assert 0.142 < lean.max() < 0.152


def test_bends_are_smooth_and_stay_near_their_spread():
    field = module._random_bends(draws(300), 28) * 14  # pixels
    assert field.shape == (300, 28, 28, 2)
    assert field[:, 0, 0].std().item() == pytest.approx(0.42, rel=0.1)  # at a knot
    assert field.mean().abs() < 0.025
    assert (field[:, 1:] - field[:, :-1]).abs().mean() < 0.15  # neighbours move together


def test_bends_of_all_go_half_as_far_again(monkeypatch):
    def moved(name):
        slope = (torch.arange(28.0) / 27).expand(400, 1, 28, 28).clone()  # whose grey says from where a pixel came
        return (varied(slope, name, monkeypatch, "ELASTIC") - slope)[:, 0, 10:18, 10:18].std() * 27

    assert moved("elastic").item() == pytest.approx(0.42 * 0.77, rel=0.15)  # between knots a curve is a mean of them
    assert (moved("all") / moved("elastic")).item() == pytest.approx(1.5, rel=0.1)


# Ink, and what is left alone.


def inked(images, noise):
    """Do in numpy what _random_ink does: turn the grey about its middle by up to e**0.9, and add noise."""
    u, v = torch.rand(2, len(images), 1, 1, 1, generator=noise).double().numpy()
    grain = torch.randn(images.shape, generator=noise).double().numpy()
    return np.clip((images.numpy() - 0.5) * np.exp(1.2 * u - 0.3) + 0.5 + 0.2 * v**4 * grain, 0, 1)


def test_ink_is_its_formula():
    images = torch.rand(200, 1, 28, 28, generator=generator(1))
    out = module._random_ink(images, draws(len(images)))
    np.testing.assert_allclose(out.numpy(), inked(images, generator()), atol=1e-6)


def test_ink_is_mostly_made_steeper_and_noise_is_mostly_small():
    slope = torch.linspace(0.45, 0.55, 28).expand(2000, 1, 28, 28)
    out = module._random_ink(slope.clone(), draws(len(slope)))
    steepness = ((out[..., -1] - out[..., 0]).mean((1, 2)) / 0.1).log()
    noise = out.std(2).mean((1, 2))  # down the columns, which are of one grey
    quiet = noise < 0.02
    assert quiet.float().mean().item() == pytest.approx(0.1**0.25, abs=0.04)  # 0.2 v**4 < 0.02
    assert noise.max().item() == pytest.approx(0.2, rel=0.1)
    assert steepness[quiet].min().item() == pytest.approx(-0.3, abs=0.1)
    assert steepness[quiet].max().item() == pytest.approx(0.9, abs=0.1)


def test_all_leaves_a_fifth_alone_to_the_bit(monkeypatch):
    monkeypatch.setattr(module, "LEAST_INK", 0.0)
    images = torch.rand(3000, 1, 28, 28, generator=generator(1))
    kept = (augment(images, "all", generator()) == images).all((1, 2, 3))
    assert kept.float().mean().item() == pytest.approx(0.2, abs=0.025)
    for name in ("affine", "elastic"):
        assert not (augment(images[:100], name, generator()) == images[:100]).all((1, 2, 3)).any()


def widened(images, noise):
    """Do in numpy, pixel by pixel of a neighbourhood, what _random_widths does; return the shares drawn, too."""
    shares = (torch.rand(len(images), 1, 1, 1, generator=noise) * 2 * WIDTH - WIDTH).numpy()
    framed = np.pad(images.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)))  # black outside
    around = [framed[:, :, y : y + 28, x : x + 28] for y in range(3) for x in range(3)]
    goal = np.where(shares > 0, np.max(around, axis=0), np.min(around, axis=0))
    return images.numpy() + np.abs(shares) * (goal - images.numpy()), shares[:, 0, 0, 0]


def test_widths_are_shares_of_the_way_to_a_pixel_more_or_less():
    images = torch.rand(200, 1, 28, 28, generator=generator(1))
    expected, shares = widened(images, generator())
    out = module._random_widths(images, draws(len(images)))
    np.testing.assert_allclose(out.numpy(), expected, atol=1e-6)
    assert out.min() >= 0
    assert out.max() <= 1
    assert shares.min() == pytest.approx(-WIDTH, abs=0.05)
    assert shares.max() == pytest.approx(WIDTH, abs=0.05)


def test_strokes_grow_and_shrink_alike_and_no_further_than_a_pixel():
    images = torch.zeros(400, 1, 28, 28)
    images[:, :, 4:24, 11:17] = 1  # 20 by 6: 22 by 8 is the widest, and 18 by 4 the thinnest
    ink = module._random_widths(images, draws(len(images))).sum((1, 2, 3))
    assert 120 - WIDTH * 48 - 0.01 < ink.min() < 120 - WIDTH * 46
    assert 120 + WIDTH * 54 < ink.max() < 120 + WIDTH * 56 + 0.01
    assert 0.4 < (ink > 120).float().mean() < 0.6
    assert ink.mean().item() == pytest.approx(120, rel=0.03)


def test_a_width_without_strength_is_the_image_itself(monkeypatch):
    monkeypatch.setattr(module, "WIDTH", 0.0)
    images = torch.rand(20, 1, 28, 28, generator=generator(1))
    assert torch.equal(module._random_widths(images, draws(len(images))), images)


@pytest.mark.parametrize(("name", "low", "high"), [("affine", 0.78, 1.25), ("elastic", 0.7, 1.4), ("all", 0.3, 3.0)])
def test_ink_is_roughly_kept(name, low, high):
    mass = augment(seven(1000), name, generator()).sum((1, 2, 3)) / seven(1).sum()
    assert low < mass.min()
    assert mass.max() < high
    assert mass.mean().item() == pytest.approx(1, abs=0.05 if name != "all" else 0.15)  # noise is ink, too


def test_a_digit_that_would_lose_most_of_its_ink_is_left_alone(monkeypatch):
    monkeypatch.setattr(module, "KEPT", 0.0)
    thin = torch.zeros(500, 1, 28, 28)
    thin[:, :, 4:24, 14] = 0.6  # a pale line, which many pens would wipe out
    out = augment(thin, "all", generator())
    alone = (out == thin).all((1, 2, 3))
    assert 0.02 < alone.float().mean() < 0.9
    assert (out.sum((1, 2, 3)) >= 0.3 * thin.sum((1, 2, 3)) - 1e-3).all()
    keep_none(monkeypatch)
    assert (augment(thin, "all", generator()).sum((1, 2, 3)) < 0.3 * thin.sum((1, 2, 3))).any()


@pytest.mark.parametrize("name", DISTORTIONS)
def test_a_seven_stays_a_seven(name):
    out, upright = augment(seven(), name, generator()), seven(1)

    def likeness(digit):
        return functional.conv2d(out, digit, padding=4).amax((1, 2, 3))  # the best overlap of any shift

    for flipped in (upright.flip(3), upright.flip(2), upright.flip(2, 3), upright.mT):
        assert (likeness(upright) > likeness(flipped)).all()


@pytest.mark.parametrize("name", ["affine", "elastic", "all"])
def test_a_part_of_a_batch_is_augmented_as_in_the_batch(name):
    images, mine = seven(20), torch.tensor([3, 4, 5, 17])
    whole = augment(images, name, generator())
    part = augment(images[mine], name, generator(), module.Part(count=20, mine=mine))
    torch.testing.assert_close(part, whole[mine])
