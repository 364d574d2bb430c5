"""Numbers in pictures are read whole: written by tests/writing.py, so that digits, lines and boxes are known."""

import csv
import json
import re
import time
import tracemalloc
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageOps
from typer.testing import CliRunner
from writing import HANDS, random_number, write_in_cells, write_number

import digitnet
from digitnet import numbers
from digitnet.cli import app
from digitnet.data.nondigits import draw_nondigits
from digitnet.data.strokes import draw_strokes
from digitnet.errors import PictureError
from digitnet.layout import Line, Piece
from digitnet.numbers import read_number, read_numbers
from digitnet.pictures import prepare
from digitnet.rejection import Thresholds
from digitnet.segments import Run, best_way
from digitnet.sources import Unreadable


@pytest.fixture(scope="module")
def reader():
    """The network that ships."""
    return digitnet.load("pretrained-cnn")


@pytest.fixture(scope="module")
def glyphs(reader):
    """Digits (N, 28, 28) that the network is sure of, one by one, and what they are: what is tested is the rest."""
    images, targets = draw_strokes(1000, seed=5)
    probs = reader.probabilities(images)
    sure = probs[range(len(targets)), targets] > 0.999
    return images[sure, 0].numpy(), targets[sure].numpy()


def iou(a, b):
    """Intersection over union of two boxes."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0) * max(height, 0)
    area = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return both / (area - both)


def written(glyphs, digits, lengths=None, hand="apart", seed=0):
    """Write given digits; returns the picture and each line's boxes."""
    images, targets = glyphs
    rng = np.random.default_rng(seed)
    chosen = [rng.choice(np.flatnonzero(targets == int(digit))) for digit in digits]
    return write_number(images[chosen], lengths or [len(digits)], HANDS[hand], rng)


@pytest.mark.parametrize(
    ("hand", "share"),
    [
        ("clean", 0.9),
        ("apart", 0.9),
        ("wide", 0.9),
        ("wobbling", 0.75),
        ("small", 0.7),
        ("broken", 0.6),
        ("touching", 0.5),
    ],
)
def test_most_numbers_are_read_whole(reader, glyphs, hand, share):
    rng = np.random.default_rng(1)
    pictures = [random_number(*glyphs, HANDS[hand], rng) for _ in range(10)]
    right = sum(read_number(reader, picture).number == number for picture, number, _ in pictures)
    assert right >= share * len(pictures) - 1


def test_lines_and_boxes_are_where_they_were_written(reader, glyphs):
    picture, boxes = written(glyphs, "13467891253", [5, 1, 5])
    answer = read_number(reader, picture)
    assert answer.number == "13467 8 91253"
    assert [[digit.digit for digit in line] for line in answer.lines] == [[1, 3, 4, 6, 7], [8], [9, 1, 2, 5, 3]]
    for line, true in zip(answer.lines, boxes, strict=True):
        assert min(iou(digit.box, box) for digit, box in zip(line, true, strict=True)) > 0.75
    product = np.prod([digit.confidence for line in answer.lines for digit in line])
    assert answer.confidence == pytest.approx(product)
    assert answer.accepted
    assert answer.path is None


def test_boxes_are_in_pixels_of_the_file_turned_upright(reader, glyphs, tmp_path):
    picture, (boxes,) = written(glyphs, "4279")
    large = picture.resize((3000, round(3000 * picture.height / picture.width)), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored a quarter turn to the left
    large.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.jpg", exif=exif, quality=90)
    answer = read_number(reader, tmp_path / "turned.jpg")
    assert answer.number == "4279"
    factor = 3000 / picture.width
    for digit, box in zip(answer.lines[0], boxes, strict=True):
        assert iou(digit.box, [side * factor for side in box]) > 0.75


def test_boxes_on_a_sheet_that_lies_on_a_dark_table_are_the_pictures(reader, glyphs):
    picture, (boxes,) = written(glyphs, "257", hand="clean", seed=3)
    if picture.getpixel((0, 0)) < 128:
        picture = ImageOps.invert(picture)
    table = Image.new("L", (picture.width + 90, picture.height + 70), 20)
    table.paste(picture, (50, 30))
    answer = read_number(reader, table)
    assert answer.number == "257"
    for digit, (left, top, right, bottom) in zip(answer.lines[0], boxes, strict=True):
        assert iou(digit.box, (left + 50, top + 30, right + 50, bottom + 30)) > 0.7


@pytest.fixture(scope="module")
def plain(reader, glyphs):
    picture, _ = written(glyphs, "60329", hand="clean", seed=4)
    picture = picture if picture.getpixel((0, 0)) > 128 else ImageOps.invert(picture)
    assert read_number(reader, picture).number == "60329"
    return picture


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 60), st.integers(0, 60), st.floats(0.6, 3), st.booleans())
def test_place_size_and_polarity_do_not_matter(reader, plain, right, down, scale, inverted):
    shade = plain.getpixel((0, 0))
    moved = Image.new("L", (plain.width + 60, plain.height + 60), shade)
    moved.paste(plain, (right, down))
    moved = moved.resize((round(moved.width * scale), round(moved.height * scale)), Image.Resampling.BICUBIC)
    assert read_number(reader, ImageOps.invert(moved) if inverted else moved).number == "60329"


def test_one_digit_is_a_number_and_one_in_mnists_form_is_read_as_it_is(reader, glyphs):
    images, targets = glyphs
    picture, _ = written(glyphs, "8")
    assert read_number(reader, picture).number == "8"
    answer = read_number(reader, Image.fromarray(images[0]))
    assert answer.number == str(targets[0])
    assert answer.confidence == pytest.approx(reader.predict(Image.fromarray(images[0])).confidence, abs=1e-6)
    rows, columns = np.nonzero(images[0].max(1))[0], np.nonzero(images[0].max(0))[0]
    assert answer.lines[0][0].box == (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)


@pytest.mark.parametrize(
    ("gap", "touching", "least"),
    [(0.05, False, 9), (0.3, False, 9), (0, False, 9), (0.2, True, 8), (0, True, 8)],
    ids=["near", "apart", "joined", "touched", "joined and touched"],
)
def test_the_cells_of_a_form_are_left_out(reader, glyphs, gap, touching, least):
    rng = np.random.default_rng(1)
    right = 0
    for _ in range(12):
        chosen = rng.integers(0, len(glyphs[0]), rng.integers(3, 9))
        answer = read_number(reader, write_in_cells(glyphs[0][chosen], rng, gap=gap, touching=touching))
        right += answer.accepted and answer.number == "".join(map(str, glyphs[1][chosen]))
    assert right >= least


def test_no_ink_is_a_blank(reader):
    answer = read_number(reader, Image.new("L", (300, 200), 230))
    assert (answer.number, answer.lines, answer.confidence, answer.reason) == ("", (), 0.0, "blank")
    assert not answer.accepted


def test_noise_is_noise(reader):
    noise = np.random.default_rng(0).integers(0, 256, (200, 200)).astype(np.uint8)
    assert read_number(reader, Image.fromarray(noise)).reason == "noise"


def test_a_page_of_print_is_refused(reader):
    page = np.full((1000, 1000), 255, np.uint8)
    for y in range(20, 980, 30):
        for x in range(20, 980, 20):
            page[y : y + 16, x : x + 3] = 0
    with pytest.raises(PictureError, match="more than 250 pieces"):
        read_number(reader, Image.fromarray(page))


def test_a_page_of_dots_is_refused_before_each_is_compared_with_each(reader):
    page = np.full((500, 500), 255, np.uint8)
    for y, x in ((0, 0), (0, 1), (1, 0), (1, 1)):
        page[10 + y : 490 : 5, 10 + x : 490 : 5] = 0
    tracemalloc.start()
    with pytest.raises(PictureError, match="more than 250 pieces"):
        read_number(reader, Image.fromarray(page))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6  # 9,216 dots: their pairs alone are 85 MB for each of six comparisons


def strokes_on_paper(*lines, width=8, size=(400, 200)):
    """Draw straight strokes, each (x, y, x, y, ...), on paper."""
    picture = Image.new("L", size, 240)
    for line in lines:
        ImageDraw.Draw(picture).line(line, fill=20, width=width)
    return picture


class TestTurningAway:
    @pytest.mark.parametrize(
        "picture",
        [
            strokes_on_paper((40, 100, 360, 100)),
            strokes_on_paper((40, 100, 360, 100), width=3),
            strokes_on_paper((20, 50, 380, 56), width=6, size=(400, 100)),
            strokes_on_paper((180, 100, 260, 100), width=7),
            strokes_on_paper((30, 40, 370, 160)),
            strokes_on_paper((60, 60, 340, 60), (60, 120, 340, 120)),
        ],
        ids=["level", "thin", "nearly level", "short", "tilted", "two"],
    )
    def test_strokes_are_no_number_and_are_known_at_once(self, reader, picture):
        started = time.process_time()
        answer = read_number(reader, picture)
        assert time.process_time() - started < 2
        assert answer.reason == "not a digit"

    def test_letters_and_scribbles_are_turned_away_and_numbers_are_not(self, reader, glyphs):
        images, targets = draw_strokes(300, seed=8)
        others = draw_nondigits(300, images, targets, seed=8)[:, 0].numpy()
        others = others[(others > 99).sum(axis=(1, 2)) > 30]
        rng = np.random.default_rng(4)
        words = [write_number(others[rng.integers(0, len(others), n)], [n], HANDS["apart"], rng)[0] for n in [3] * 30]
        assert sum(read_number(reader, word).accepted for word in words) <= 3
        numbers = [random_number(*glyphs, HANDS["apart"], rng)[0] for _ in range(30)]
        assert sum(read_number(reader, number).accepted for number in numbers) >= 28

    def test_one_letter_turns_a_number_away_and_is_the_one_that_is_named(self, reader, glyphs):
        picture, (boxes,) = written(glyphs, "257", hand="clean")
        picture = picture if picture.getpixel((0, 0)) > 128 else ImageOps.invert(picture)
        left, top, right, bottom = boxes[1]
        draw = ImageDraw.Draw(picture)
        draw.rectangle((left, top, right, bottom), fill=picture.getpixel((0, 0)))
        middle, right = (top + bottom) // 2, left + round(0.45 * (bottom - top))  # too narrow to be cut
        for y in (top, middle, bottom):  # an E
            draw.line((left, y, right, y), fill=20, width=7)
        draw.line((left, top, left, bottom), fill=20, width=7)
        answer = read_number(reader, picture)
        assert answer.reason == "not a digit"
        assert [digit.accepted for digit in answer.lines[0]] == [True, False, True]
        assert iou(answer.lines[0][1].box, (left, top, right, bottom)) > 0.6
        assert (answer.number[0], answer.number[2]) == ("2", "7")
        everything = read_number(reader, picture, reject_rate=0)
        assert everything.accepted
        assert everything.number == answer.number
        assert all(digit.accepted for digit in everything.lines[0])

    @pytest.mark.parametrize("digits", ["4", "4279"])
    def test_the_rate_reaches_from_nothing_to_everything(self, reader, glyphs, digits):
        picture, _ = written(glyphs, digits)
        assert read_number(reader, picture, reject_rate=0).accepted
        assert read_number(reader, picture, reject_rate=1).reason == "not a digit"
        with pytest.raises(ValueError, match="from 0 to 1"):
            read_number(reader, picture, reject_rate=2)

    def test_a_digit_among_many_is_allowed_a_lower_score_than_one_alone(self):
        thresholds = Thresholds(rates=(0.0, 0.01, 1.0), scores=(-4.0, 0.0, 10.0))
        assert numbers._needed(thresholds, 0.01, [9.0]) == pytest.approx(0)
        share = 1 - 0.99 ** (1 / 10)  # ten such, and one in a hundred numbers has a digit that scores under it
        assert numbers._needed(thresholds, 0.01, [9.0] * 10) == pytest.approx(-4 + 400 * share)
        assert numbers._needed(thresholds, 0.01, [9.0] * 4 + [-1.0] * 6) == pytest.approx(0)


def test_digits_that_touch_in_a_long_row_are_no_ruled_line(reader, glyphs):
    for seed in range(4):
        picture, (boxes,) = written(glyphs, "2603859260", hand="all touching", seed=seed)
        answer = read_number(reader, picture, reject_rate=0)
        assert len(answer.number) >= 7
        assert answer.lines[0][0].box[0] < boxes[1][0]
        assert answer.lines[0][-1].box[2] > boxes[-2][2]


def test_two_that_touch_are_seldom_taken_for_a_third(reader, glyphs):
    rng = np.random.default_rng(11)
    images, targets = glyphs
    wrong = 0
    for _ in range(30):
        pair = rng.integers(0, len(images), 2)
        picture, _ = write_number(images[pair], [2], HANDS["all touching"], rng)
        answer = read_number(reader, picture)
        wrong += answer.accepted and answer.number != "".join(str(int(digit)) for digit in targets[pair])
    assert wrong <= 2


@pytest.mark.parametrize("kind", ["strokes", "discs", "waves"])
def test_no_page_takes_long(reader, kind):
    rng = np.random.default_rng(0)
    picture = Image.new("L", (800, 600), 240)
    draw = ImageDraw.Draw(picture)
    for k in range(117):
        x, y = 60 * (k % 13), 60 * (k // 13)
        if kind == "strokes":
            draw.line((x, y, *(int(v) for v in rng.integers(10, 560, 2))), fill=20, width=4)
        elif kind == "discs":
            draw.ellipse((x + 10, y + 10, x + 54, y + 54), fill=20)
        elif k < 14:
            draw.line([(x, 20 + 42 * k + 15 * np.sin(x / 5)) for x in range(30, 770)], fill=20, width=3)
    started = time.process_time()
    with suppress(PictureError):
        assert not read_number(reader, picture).accepted
    assert time.process_time() - started < 6  # 2 on a quiet machine


class TestCost:
    """How much is drawn and read, which is what takes the time."""

    @pytest.fixture
    def drawn(self, reader, monkeypatch):
        counts = []
        logits = reader.calibrated_logits
        monkeypatch.setattr(reader, "calibrated_logits", lambda images: counts.append(len(images)) or logits(images))
        return counts

    def test_digits_that_are_apart_are_drawn_a_few_times_each(self, reader, glyphs, drawn):
        for seed in range(3):
            assert read_number(reader, written(glyphs, "2305816947", seed=seed)[0]).number == "2305816947"
        assert sum(drawn) < 4 * 30

    def test_high_strokes_that_are_apart_are_not_tried_as_one_digit(self, reader, drawn):
        page = np.full((100, 160), 255, np.uint8)
        for left in (40, 60, 80):
            page[30:70, left : left + 5] = 0
        assert read_number(reader, Image.fromarray(page)).number == "111"
        assert drawn == [3]

    def test_what_is_spared_would_have_changed_nothing(self, reader, glyphs, monkeypatch):
        rng = np.random.default_rng(6)
        pictures = [random_number(*glyphs, HANDS[hand], rng)[0] for hand in ("apart", "touching", "narrow")]
        answers = [read_number(reader, picture) for picture in pictures]
        monkeypatch.setattr(numbers, "_keep_whole", lambda *found_lines: found_lines[-1])
        for picture, answer in zip(pictures, answers, strict=True):
            plain = read_number(reader, picture)
            assert (plain.number, plain.accepted) == (answer.number, answer.accepted)
            assert [[d.box for d in line] for line in plain.lines] == [[d.box for d in line] for line in answer.lines]
            assert plain.confidence == pytest.approx(answer.confidence, rel=1e-4)  # other batches round otherwise


def test_the_best_way_is_that_of_all_ways_tried():
    rng = np.random.default_rng(0)
    blank = np.zeros((28, 28), np.uint8)
    for _ in range(50):
        count = int(rng.integers(1, 6))
        mains = rng.random(count) < 0.7
        pieces = tuple(
            Piece(box=(10 * i, 0, 10 * i + 8, 30), mask=np.ones((6, 5), bool), is_main=bool(main), cut=None)
            for i, main in enumerate(mains)
        )
        line = Line(height=30.0, pieces=pieces)
        runs = [
            Run(first=a, last=b, box=(0, 0, 1, 1), pixels=blank, cost=float(rng.random()))
            for a in range(count)
            for b in range(a + 1, count + 1)
            if mains[a:b].any()
        ]
        probs = rng.uniform(0.01, 1, len(runs))

        def ways(at, runs=runs, mains=mains, count=count, probs=probs):
            if at == count:
                yield 0.0, []
            for index, run in enumerate(runs):
                if run.first == at:
                    gain = np.log(probs[index]) - run.cost
                    yield from ((gain + score, [index, *rest]) for score, rest in ways(run.last))
            if at < count and not mains[at]:
                yield from ((score - 1.0 * 6 / 30, rest) for score, rest in ways(at + 1))

        assert best_way(line, runs, probs) == max(ways(0), key=lambda way: way[0])[1]


def test_files_come_back_in_order_with_what_cannot_be_read(reader, glyphs, tmp_path):
    for name in ("31", "42"):
        written(glyphs, name)[0].save(tmp_path / f"{name}.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    paths = [tmp_path / "31.png", None, tmp_path / "broken.png", tmp_path / "42.png"]
    first, broken, second = read_numbers(reader, paths)
    assert (first.number, second.number) == ("31", "42")
    assert first.path == str(tmp_path / "31.png")
    assert isinstance(broken, Unreadable)


class TestCommand:
    @pytest.fixture
    def files(self, glyphs, tmp_path):
        written(glyphs, "205071", [4, 2])[0].save(tmp_path / "a.png")
        Image.new("L", (100, 80), 255).save(tmp_path / "blank.png")
        return [str(tmp_path / "a.png"), str(tmp_path / "blank.png")]

    def invoke(self, *arguments):
        return CliRunner().invoke(app, ["predict", "--checkpoint", "pretrained-cnn", "--number", *map(str, arguments)])

    def test_what_is_turned_away_is_named_in_every_form(self, glyphs, tmp_path):
        good, _ = written(glyphs, "4279")
        good.save(tmp_path / "good.png")
        strokes_on_paper((180, 100, 260, 100), width=7).save(tmp_path / "dash.png")
        strokes_on_paper((40, 100, 360, 100)).save(tmp_path / "rule.png")
        files = [tmp_path / f"{name}.png" for name in ("good", "dash", "rule")]
        first, dash, rule = self.invoke(*files).stdout.splitlines()
        assert first.startswith(f"{files[0]}: 4279  ")
        assert re.fullmatch(rf"{re.escape(str(files[1]))}: turned away: not a digit \(nearest \d, .+%\)", dash)
        assert rule == f"{files[2]}: turned away: nothing in it could be a digit"
        answers = json.loads(self.invoke("--json", *files).stdout)["predictions"]
        assert [answer["reason"] for answer in answers] == [None, "not a digit", "not a digit"]
        digits = answers[1]["lines"][0]
        assert [digit["accepted"] for digit in digits] == [False]
        assert all(digit["score"] > 0 and digit["accepted"] for digit in answers[0]["lines"][0])
        rows = list(csv.DictReader(self.invoke("--csv", *files).stdout.splitlines()))
        assert [(row["accepted"], row["reason"]) for row in rows] == [("true", "")] + 2 * [("false", "not a digit")]
        assert self.invoke("--fail-on-reject", files[0]).exit_code == 0
        ended = self.invoke("--fail-on-reject", *files)
        assert (ended.exit_code, ended.stderr.splitlines()[-1]) == (4, "error: 2 pictures were turned away")
        assert self.invoke("--fail-on-reject", "--reject-rate", 0, *files[:2]).exit_code == 0
        line = self.invoke("--reject-rate", "100%", files[0]).stdout
        assert line == f"{files[0]}: turned away: not a digit, in brackets (nearest [4][2][7][9])\n"

    def test_text(self, files):
        first, second = self.invoke(*files).stdout.splitlines()
        assert first.startswith(f"{files[0]}: 2050 71  ")
        assert first.endswith("%")
        assert second == f"{files[1]}: turned away: blank"

    def test_json_lines_and_csv(self, files):
        document = json.loads(self.invoke("--json", *files).stdout)
        lines = [json.loads(line) for line in self.invoke("--jsonl", *files).stdout.splitlines()]
        assert lines == document["predictions"]
        assert [line["number"] for line in lines] == ["2050 71", ""]
        assert [line["accepted"] for line in lines] == [True, False]
        assert [[digit["digit"] for digit in row] for row in lines[0]["lines"]] == [[2, 0, 5, 0], [7, 1]]
        assert len(lines[0]["lines"][0][0]["box"]) == 4
        rows = list(csv.DictReader(self.invoke("--csv", *files).stdout.splitlines()))
        assert [row["number"] for row in rows] == ["2050 71", ""]
        assert [float(row["confidence"]) for row in rows] == [line["confidence"] for line in lines]
        assert [row["reason"] for row in rows] == ["", "blank"]


class TestObjection:
    def test_several_digits_are_noticed(self, glyphs):
        rng = np.random.default_rng(2)
        for _ in range(15):
            picture, number, _ = random_number(*glyphs, HANDS["apart"], rng)
            assert (prepare(picture).objection == "several digits") == (len(number) > 1), number

    def test_one_digit_is_not_several(self, glyphs):
        for image in glyphs[0][:100]:
            assert prepare(Image.fromarray(image).resize((112, 112))).objection is None
            assert prepare(Image.fromarray(image)).objection is None  # MNIST's own form
