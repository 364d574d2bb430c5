"""docs/: what its pages show is what the program prints and draws, its code runs, and its links lead somewhere.

``python tests/test_docs.py`` draws the figures anew, on the MNIST that DIGITNET_DATA_DIR names.
"""

import contextlib
import doctest
import functools
import io
import os
import re
import shlex
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from digitnet.cli import app

DOCS = Path(__file__).resolve().parents[1] / "docs"
INDEX = DOCS / "README.md"
PAGES = sorted(DOCS.glob("[0-9][0-9]-*.md"))
DRAWN = re.compile(r"!\[[^\]]+\]\((figures/[^)]+)\)\s+Drawn by `digitnet (.+?) --output figures`, as `([^`]+)`")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
COLOURS = 256  # of a figure that is kept: a third of the size, and no difference to the eye


def blocks(page, kind):
    return [text for found, text in BLOCK.findall(page.read_text("utf-8")) if found == kind]


def without_rounding(line):
    """Leave out a last column of rounding errors, which differ between machines: 1.388e-17, or 0."""
    return re.sub(r"\s+(\S+e-1[5-9]|0)$", "", line)


def figures(page):
    """List the figures of a page: its file, the command that draws it, and how that calls it."""
    return DRAWN.findall(page.read_text("utf-8"))


def run(command, folder=None):
    arguments = [*shlex.split(command), *(["--output", str(folder)] if folder else [])]
    with contextlib.chdir(DOCS.parent):  # which a command may name a picture from
        done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def draw(command):
    """Draw the figures of a command in few colours, by their names."""
    with tempfile.TemporaryDirectory() as folder:
        run(command, folder)
        return {path.name: in_few_colours(path) for path in Path(folder).glob("*.png")}


def in_few_colours(path):
    with Image.open(path) as figure:
        return figure.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)


# Several pages show parts of the same, and each command takes a second or two.
run_once, draw_once = functools.cache(run), functools.cache(draw)


@pytest.fixture
def real_digits(mnist_dir, monkeypatch):
    monkeypatch.setenv("DIGITNET_DATA_DIR", str(mnist_dir))


def test_the_index_names_every_page_in_order():
    assert re.findall(r"\]\((\d\d-.+?\.md)\)", INDEX.read_text("utf-8")) == [page.name for page in PAGES]


@pytest.mark.parametrize("page", [INDEX, *PAGES], ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?://)([^)#]+)\)", page.read_text("utf-8")):
        assert (DOCS / target).is_file(), target


def test_every_figure_is_on_a_page_and_small():
    named = {DOCS / file for page in PAGES for file, _, _ in figures(page)}
    assert named == set((DOCS / "figures").iterdir())
    for page in PAGES:
        assert figures(page), page
    for path in named:
        assert path.stat().st_size < 100_000
        with Image.open(path) as figure:
            assert figure.width == 1200


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_code_prints_what_is_shown(page):
    text = "\n".join(blocks(page, "pycon"))
    assert not blocks(page, "python")  # which nothing would run
    test = doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0)
    said = io.StringIO()
    doctest.DocTestRunner().run(test, out=said.write)
    assert not said.getvalue()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
@pytest.mark.usefixtures("real_digits")
def test_commands_print_what_is_shown(page):
    for block in blocks(page, "console"):
        first, *shown = block.splitlines()
        assert first.startswith("$ digitnet ")
        assert shown
        printed = map(without_rounding, run_once(first.removeprefix("$ digitnet ")).splitlines())
        for line in map(without_rounding, shown):
            assert line in printed, f"{line!r} is not printed, or not after the lines before it"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
@pytest.mark.usefixtures("real_digits")
def test_figures_are_what_the_program_draws(page):
    for file, command, name in figures(page):
        with Image.open(DOCS / file) as kept:
            before, now = (
                np.asarray(figure.convert("RGB"), dtype=float) for figure in (kept, draw_once(command)[name])
            )
        assert before.shape == now.shape
        assert np.abs(before - now).mean() < 2  # of 255: another FreeType may place a letter otherwise


if __name__ == "__main__":
    assert "DIGITNET_DATA_DIR" in os.environ, __doc__
    for page in PAGES:
        for file, command, name in figures(page):
            draw_once(command)[name].save(DOCS / file, optimize=True)
            sys.stderr.write(f"{file}\n")
