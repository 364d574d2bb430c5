"""The answer stays when the picture is harder: on synthetic paper, a difficulty at a time, with the CNN that ships."""

import io

import numpy as np
import papers
import pytest
import scenes
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

import digitnet
from digitnet.data.strokes import draw_strokes
from digitnet.pictures import prepare


@pytest.fixture(scope="module")
def reads():
    """A function that reads pictures with the pretrained CNN: a list of digits."""
    cnn = digitnet.load("pretrained-cnn")
    return lambda pictures: [answer.digit for answer in cnn.predict(pictures)]


@pytest.fixture(scope="module")
def written(reads):
    """Ten digits of 28x28, one of each, that the CNN reads right as they are; light on black."""
    images, targets = draw_strokes(300, seed=11)
    right = np.array(reads(list(images[:, 0].numpy()))) == targets.numpy()
    return [images[(targets == digit).numpy() & right][0, 0].numpy() for digit in range(10)]


@pytest.mark.parametrize("kind", papers.KINDS)
def test_each_difficulty_is_read(reads, written, kind):
    pictures = [papers.photograph(digit, seed, kind) for seed, digit in enumerate(written)]
    right = np.array(reads(pictures)) == np.arange(10)
    assert right.sum() >= (8 if kind in ("thin", "broken", "squared", "pencil", "small") else 9), np.flatnonzero(~right)


@pytest.mark.parametrize("kinds", [("ruled", "shadow", "jpeg"), ("margin", "edges", "specks"), ("squared", "coloured")])
def test_several_at_once(reads, written, kinds):
    pictures = [papers.photograph(digit, seed, *kinds) for seed, digit in enumerate(written)]
    assert (np.array(reads(pictures)) == np.arange(10)).sum() >= 8


@pytest.mark.parametrize(("kind", "least"), [("ruled", 1), ("squared", 4), ("margin", 2), ("plain", 0), ("edges", 0)])
def test_lines_are_counted(written, kind, least):
    counts = [prepare(papers.photograph(digit, seed, kind)).steps.lines for seed, digit in enumerate(written[2:6])]
    assert max(counts) >= least if least else counts == [0] * 4


def as_jpeg(picture, quality):
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return Image.open(stream)


def change(name, amount):
    """Return a function that changes a picture in a way that its digit does not; amount is in [0, 1]."""
    return {
        "shift": lambda p: Image.fromarray(np.roll(np.asarray(p), round(60 * amount) - 30, axis=(0, 1))),
        "scale": lambda p: p.resize((round(p.width * (0.4 + 1.6 * amount)),) * 2, Image.Resampling.BOX),
        "inversion": lambda p: Image.fromarray(255 - np.asarray(p)),
        "padding": lambda p: Image.fromarray(np.pad(np.asarray(p), [(0, round(200 * amount))] * 2 + [(0, 0)], "edge")),
        "brightness": lambda p: p.point(lambda v: round(v * (0.5 + amount / 2))),
        "contrast": lambda p: p.point(lambda v: round(128 + (v - 128) * (0.4 + 0.6 * amount))),
        "jpeg": lambda p: as_jpeg(p, round(20 + 75 * amount)),
    }[name]


@pytest.mark.parametrize("name", ["shift", "scale", "inversion", "padding", "brightness", "contrast", "jpeg"])
@settings(max_examples=10, deadline=None)
@given(st.integers(0, 9), st.floats(0, 1))
def test_the_answer_is_left_alone(reads, written, name, digit, amount):
    picture = papers.photograph(written[digit], digit, "plain")
    assert reads([change(name, amount)(picture)]) == [digit]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_is_on_a_page_is_prepared(data):
    size = data.draw(st.tuples(st.integers(20, 260), st.integers(64, 260)))
    picture = Image.new("L", size, 235)
    pen = ImageDraw.Draw(picture)
    gap, slope, width = data.draw(st.integers(8, 60)), data.draw(st.floats(-0.1, 0.1)), data.draw(st.integers(1, 3))
    rules = data.draw(st.sampled_from(["none", "level", "squared"]))
    for place in range(0, 330, gap) if rules != "none" else ():
        pen.line([(0, place), (size[0], place + slope * size[0])], fill=140, width=width)
        if rules == "squared":
            pen.line([(place, 0), (place - slope * size[1], size[1])], fill=140, width=width)
    side = st.integers(0, 260)
    for _ in range(data.draw(st.integers(0, 4))):
        pen.line([data.draw(side) for _ in range(4)], fill=60, width=data.draw(st.integers(1, 8)))
    if data.draw(st.booleans()):  # the dark edge of a scan
        pen.rectangle([0, 0, size[0], data.draw(st.integers(0, 12))], fill=20)
    noise = np.random.default_rng(data.draw(st.integers(0, 99))).normal(0, data.draw(st.sampled_from([0, 4, 15])), size)
    page = Image.fromarray((np.asarray(picture) + noise.T).clip(0, 255).astype(np.uint8))
    ready = prepare(page)
    assert ready.pixels.shape == (28, 28)
    assert (ready.objection == "blank") == (not ready.pixels.any())


@pytest.mark.parametrize("mark", {**scenes.OUTLINES, **scenes.BARS})
def test_marks_about_a_digit_are_no_part_of_it(reads, written, mark):
    draw = {**scenes.OUTLINES, **scenes.BARS}[mark]
    pictures = [papers.photograph(digit, seed, draw) for seed, digit in enumerate(written)]
    assert (np.array(reads(pictures)) == np.arange(10)).sum() >= 9


@pytest.mark.parametrize(("tilt", "bent"), [(0, 0), (6, 0), (-15, 0.1), (30, 0), (-40, 0)])
def test_a_sheet_on_a_table(reads, written, tilt, bent):
    tables = list(scenes.TABLES)
    pictures = [
        scenes.on_table(
            papers.photograph(digit, seed, "plain"),
            seed,
            table=tables[seed % len(tables)],
            tilt=tilt,
            share=0.4 + 0.03 * seed,
            bent=bent,
            size=[(900, 675), (1200, 675), (600, 800)][seed % 3],
        )
        for seed, digit in enumerate(written)
    ]
    assert (np.array(reads(pictures)) == np.arange(10)).sum() >= 9
