"""The 28x28 in the terminal, and the words above it."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from digitnet.cli import app
from digitnet.drawing import decimals_apart, describe, draw_digit, signed
from digitnet.pictures import Steps, read_digit, read_prepared


@pytest.mark.parametrize("encoding", ["utf-8", "cp437", "ascii", "latin-1", None, "no-such-encoding"])
def test_fourteen_lines_that_the_stream_can_write(encoding):
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    lines = draw_digit(pixels, encoding)
    assert [len(line) for line in lines] == [28] * 14
    "".join(lines).encode(encoding if encoding in ("utf-8", "cp437") else "ascii")


def test_half_blocks_are_the_pixels():
    pixels = np.random.default_rng(1).integers(0, 256, (28, 28), dtype=np.uint8)
    halves = {" ": (0, 0), "▀": (1, 0), "▄": (0, 1), "█": (1, 1)}
    drawn = np.array([[halves[c] for c in line] for line in draw_digit(pixels, "utf-8")])
    np.testing.assert_array_equal(drawn.transpose(0, 2, 1).reshape(28, 28), pixels >= 128)


def test_ascii_is_darker_with_more_ink():
    pixels = np.repeat(np.linspace(0, 255, 28).astype(np.uint8)[None], 28, axis=0)
    line = draw_digit(pixels, "ascii")[0]
    assert line[0] == " "
    assert line[-1] == "@"
    assert sorted(line, key=" .:-=+*#%@".index) == list(line)


def test_what_was_done_in_words():
    steps = Steps(
        polarity="dark on light", orientation=6, mnist_form=False, ink_box=(212, 340), stroke=2.1, drawn_stroke=2.6
    )
    assert describe(steps) == "dark on light, turned 90 degrees by EXIF, ink 212x340 px, stroke 2.1 to 2.6 px"
    steps = Steps(polarity="light on dark", orientation=1, mnist_form=True)
    assert describe(steps) == "light on dark, an MNIST image already, left alone"
    steps = Steps(
        polarity="light on dark", orientation=1, mnist_form=False, stroke=2.51, drawn_stroke=2.52, lines=12, specks=1
    )
    assert describe(steps) == "light on dark, stroke 2.5 px, 12 lines removed, 1 speck removed"


def show(run_folder, *arguments):
    """Run predict --show with the small network; return how it ended."""
    options = ["--checkpoint", run_folder, "--show", *arguments]
    return CliRunner().invoke(app, ["predict", *map(str, options)], prog_name="digitnet", catch_exceptions=False)


def test_show_draws_below_each_answer(run_folder, digit_files):
    result = show(run_folder, *digit_files[:2], "gone.png")
    lines = result.stdout.split("\n")
    assert result.exit_code == 3
    for answer, path in zip((lines[:16], lines[16:32]), digit_files[:2], strict=True):
        assert answer[0].startswith(f"{path}: ")
        assert answer[1] == "  light on dark, an MNIST image already, left alone"
        assert answer[2:] == [f"  {line}" for line in draw_digit(read_digit(path), "utf-8")]


def test_show_as_json_has_the_steps_and_the_pixels(run_folder, digit_files, tmp_path):
    photo = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.fromarray(255 - np.asarray(Image.open(digit_files[0]).resize((280, 280))))
    paper = Image.new("L", (400, 300), 255)
    paper.paste(picture, (60, 10))
    paper.transpose(Image.Transpose.ROTATE_90).save(photo, exif=exif, quality=95)
    lines = [json.loads(line) for line in show(run_folder, "--jsonl", photo, digit_files[0]).stdout.splitlines()]
    assert json.loads(show(run_folder, "--json", photo, digit_files[0]).stdout)["predictions"] == lines
    prepared = lines[0]["prepared"]
    assert (prepared["polarity"], prepared["orientation"], prepared["mnist_form"]) == ("dark on light", 6, False)
    wide, tall = np.ptp(np.nonzero(np.asarray(paper) < 128), axis=1)[::-1] + 1
    assert prepared["ink_box"] == pytest.approx([wide, tall], abs=8)
    np.testing.assert_array_equal(prepared["pixels"], read_digit(photo))
    assert lines[1]["prepared"]["mnist_form"]
    np.testing.assert_array_equal(lines[1]["prepared"]["pixels"], np.asarray(Image.open(digit_files[0])))


def test_without_show_nothing_is_added(run_folder, digit_files):
    arguments = ["predict", "--checkpoint", str(run_folder), "--jsonl", str(digit_files[0])]
    assert "prepared" not in json.loads(CliRunner().invoke(app, arguments).stdout)


def test_csv_has_no_place_for_it(run_folder, digit_files):
    result = show(run_folder, "--csv", digit_files[0])
    assert result.exit_code == 2
    assert "--csv has no place for what --show adds" in result.stderr


def test_the_size_is_that_of_the_file(tmp_path):
    picture = Image.new("L", (2400, 1800), 255)
    picture.paste(0, (1000, 500, 1120, 1300))
    for name in ("one.png", "one.jpg"):
        picture.save(tmp_path / name)
        assert read_prepared(tmp_path / name).steps.ink_box == pytest.approx((120, 800), abs=12)


@pytest.mark.parametrize(
    ("values", "decimals"),
    [([-12.0, 14.0], 1), ([0.2, 2.5], 2), ([0.201, 0.233], 4), ([1e-9, 2e-9], 5), ([3.0, 3.0], 1), ([-9e2, 9e2], 1)],
)
def test_numbers_that_lie_close_get_more_decimals(values, decimals):
    assert decimals_apart(values, 1) == decimals


def test_nought_has_no_minus():
    assert [signed(value) for value in (-0.001, 0.0, -0.006, 2.0)] == ["+0.00", "+0.00", "-0.01", "+2.00"]
