"""The pen against its formula by hand, and the frame against MNIST's rule: 20 pixels, centre of mass in the middle."""

import math

import pytest
import torch

from digitnet.data import pen, templates


@pytest.mark.parametrize("size", [0.7, 1.0, 20.0])
def test_paths_of_a_unit_or_more_fill_the_box_with_their_ink(size):
    rng = torch.Generator().manual_seed(0)
    sides = 0.5 + torch.rand(100, 1, 2, generator=rng)
    dabs = size * (torch.rand(100, 64, 2, generator=rng) * sides - 0.5)
    lengths, widths = torch.rand(100, 64, generator=rng), 1 + 3 * torch.rand(100, 1, generator=rng).expand(-1, 64)
    fitted, scaled = pen.fit(dabs, lengths, widths / 2 / pen.EDGE)
    low, high = (fitted - widths[:, :, None] / 2).amin(1), (fitted + widths[:, :, None] / 2).amax(1)
    torch.testing.assert_close((high - low).amax(1), torch.full((100,), 20.0), atol=0.2, rtol=0)
    assert low.min() > -0.01
    assert high.max() < 20.2
    scale = (fitted[:, 1:] - fitted[:, :-1]) / (dabs[:, 1:] - dabs[:, :-1])  # one for both sides: shapes are kept
    torch.testing.assert_close(
        scaled / lengths, scale.flatten(1).median(1).values[:, None].expand(-1, 64), rtol=1e-3, atol=0
    )


def test_the_pens_width_is_the_classs_about_which_hands_spread_and_swell():
    sigmas = pen.pen_sigmas(torch.tensor([2.0, 3.0]).repeat_interleave(4000), torch.Generator().manual_seed(0))
    widths = (sigmas * 2 * pen.EDGE).log()
    assert sigmas.shape == (8000, templates.DAB_COUNT)
    for hands, width in ((widths[:4000], 2.0), (widths[4000:], 3.0)):
        assert hands.mean().item() == pytest.approx(math.log(width), abs=0.02)
        assert hands.mean(1).std().item() == pytest.approx(0.24, rel=0.06)
    assert sigmas.min() * 2 * pen.EDGE > 1.099
    assert 0.05 < (widths - widths.mean(1, keepdim=True)).std() < 0.12


def test_an_empty_box_makes_an_empty_canvas():
    assert not pen.place(torch.zeros(1, 20, 20, dtype=torch.uint8)).any()


def test_boxes_are_laid_whole_and_never_off_the_canvas():
    boxes = torch.zeros(3, 20, 20, dtype=torch.uint8)
    boxes[0, 3, 4] = 200  # a centre far off: the box stays on the canvas
    boxes[1, 10, 10] = 200
    boxes[2] = 7
    canvases = pen.place(boxes)
    assert canvases.sum((1, 2, 3)).tolist() == [200, 200, 2800]
    assert canvases[0, 0, 11, 12] == 200
    assert canvases[1, 0, 14, 14] == 200
    assert (canvases[2, 0, 4:24, 4:24] == 7).all()


def test_ink_of_a_vertical_stroke_is_the_sum_of_its_dabs():
    count, sigma, x = templates.DAB_COUNT, 1.2, 9.8
    ys = torch.linspace(3, 16, count)
    dabs = torch.stack([torch.full((count,), x), ys], 1)[None]
    step = float(ys[1] - ys[0])
    lengths = torch.full((1, count), step)
    image = pen.ink(dabs, lengths, torch.full((1, count), sigma), torch.zeros(1, count))[0]
    for row in range(20):
        for column in range(20):
            field = sum(
                step
                / (sigma * math.sqrt(2 * math.pi))
                * math.exp(-((column + 0.5 - x) ** 2 + (row + 0.5 - y) ** 2) / (2 * sigma**2))
                for y in ys.tolist()
            )
            grey = min(max(0.5 + (field - 0.5) * pen.HARDNESS * sigma, 0), 1)
            assert abs(int(image[row, column]) - 255 * grey) <= 1


def test_a_stroke_is_as_wide_as_its_pen_and_ends_round():
    count, width = templates.DAB_COUNT, 4.0
    ys = torch.linspace(4, 16, count)
    dabs = torch.stack([torch.full((count,), 10.0), ys], 1)[None]
    ends = torch.zeros(1, count)
    ends[0, [0, -1]] = 1
    lengths = torch.full((1, count), 12 / (count - 1))
    lengths[0, [0, -1]] /= 2
    sigmas = torch.full((1, count), width / 2 / pen.EDGE)
    image = pen.ink(dabs, lengths, sigmas, ends)[0].float() / 255
    assert image[10].sum() == pytest.approx(width, abs=0.1)
    assert image[:, 9:11].sum(0).mean() == pytest.approx(12 + width, abs=0.4)
