"""The smallest change is smaller than every other that changes the answer, by trying them all."""

import numpy as np
import pytest
import torch
from explained import CONFIGS, digits, network

from digitnet.explain.image import counterfactual
from digitnet.explain.image.counterfactual import find_changes, search, shifted, strokes, with_stroke, without_stroke

KINDS = {"shift": shifted, "added stroke": with_stroke, "removed stroke": without_stroke}


class Threshold(torch.nn.Module):
    """Read a 1 where there is more ink than so much, else a 0."""

    def __init__(self, level):
        super().__init__()
        self.level = level
        self.register_buffer("mean", torch.tensor(0.0))

    def forward(self, images):
        ink = images.sum((1, 2, 3))
        logits = torch.zeros(len(images), 10)
        logits[:, 1] = ink - self.level
        return logits


def picture(index=0):
    return digits(8)[0][index, 0] / 255


@pytest.mark.parametrize("name", CONFIGS)
def test_each_change_is_the_smallest_of_all_that_change_the_answer(name):
    model = network(name)
    for index in (0, 1):
        image = picture(index)
        with torch.no_grad():
            answer = model(image[None, None]).argmax().item()
            for found in find_changes(model, image):
                candidates = KINDS[found.kind](image)
                read = model(candidates.images[:, None]).argmax(1)
                changing = candidates.sizes[read != answer]
                if found.change is None:
                    assert len(changing) == 0
                    assert found.tried == len(candidates.images)
                else:
                    assert found.change.size == changing.min().item()
                    assert model(found.change.image[None, None]).argmax().item() == found.change.answer != answer
                    assert 0 < found.tried <= len(candidates.images)


def test_shifts_move_all_ink_and_lose_none():
    image = picture()
    found = shifted(image)
    rows, columns = np.nonzero(image.numpy())
    room = (rows.min() + 27 - rows.max() + 1) * (columns.min() + 27 - columns.max() + 1) - 1
    assert len(found.images) == room
    for moved, size, said in zip(found.images, found.sizes, found.said, strict=True):
        assert moved.sum() == pytest.approx(image.sum().item(), rel=1e-6)
        y, x = np.nonzero(moved.numpy())
        dy, dx = y.min() - rows.min(), x.min() - columns.min()
        assert np.array_equal(np.stack([y, x]), np.stack([rows + dy, columns + dx]))
        assert size.item() == pytest.approx(np.hypot(dy, dx))
        assert (f"{abs(dx)} px {'left' if dx < 0 else 'right'}" in said) == (dx != 0)
        assert (f"{abs(dy)} px {'up' if dy < 0 else 'down'}" in said) == (dy != 0)
    assert found.sizes.tolist() == sorted(found.sizes.tolist())


def test_ink_that_fills_the_frame_cannot_be_shifted():
    full = torch.full((28, 28), 0.5)
    assert len(shifted(full).images) == 0
    assert find_changes(network("mlp"), full)[0].change is None


@pytest.mark.parametrize("kind", ["added stroke", "removed stroke"])
def test_strokes_add_or_take_ink_and_say_how_much(kind):
    image = picture()
    found = KINDS[kind](image)
    difference = (found.images - image) * (1 if kind == "added stroke" else -1)
    assert difference.min() >= 0
    assert difference.max() <= 1
    torch.testing.assert_close(difference.sum((1, 2)), found.sizes)
    assert found.sizes.min() >= counterfactual.LEAST_INK
    assert found.sizes.tolist() == sorted(found.sizes.tolist())


def test_strokes_are_as_wide_and_long_as_they_are_said_to_be():
    images, said = strokes()
    assert len(images) == len(said) == len(set(said))
    for image, words in zip(images[::97], said[::97], strict=True):
        length = 0 if words.startswith("a dot") else int(words.split(" px")[0])
        expected = 2 * counterfactual.PEN_RADIUS * length + np.pi * counterfactual.PEN_RADIUS**2
        assert image.sum().item() == pytest.approx(expected, rel=0.1)


def test_where_the_threshold_is_known_so_is_the_smallest_stroke():
    image = picture()
    ink = image.sum().item()
    found = search(Threshold(ink + 6), image, "added stroke", with_stroke(image), "")
    sizes = with_stroke(image).sizes
    assert found.change.size == pytest.approx(sizes[sizes > 6].min().item(), abs=1e-3)
    assert search(Threshold(ink + 200), image, "added stroke", with_stroke(image), "").change is None
    assert search(Threshold(ink - 5), image, "removed stroke", without_stroke(image), "").change.size > 5
