"""docs/: what its pages show is what the program prints and draws, its code runs, and its links lead somewhere.

``python tests/test_docs.py`` renews all that pages show, on the MNIST that DIGITNET_DATA_DIR names: figures, and what
commands and code print. What the pages say of it is then for a person to read again.
"""

import contextlib
import difflib
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


def wrong_examples(page):
    """Run the code of a page, and list the examples that print something else, each with what it prints."""
    found = []

    class Runner(doctest.DocTestRunner):
        def report_failure(self, _out, _test, example, got):
            found.append((example.source, example.want, got))

    text = "\n".join(blocks(page, "pycon"))
    test = doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0)
    failed, _ = Runner().run(test, out=io.StringIO().write)
    assert failed == len(found), f"the code of {page.name} ends in an error"
    return found


def printed_by(first):
    """List the lines that the command prints which a block shows first."""
    return run_once(first.removeprefix("$ digitnet ")).splitlines()


def first_not_printed(shown, printed):
    """Return the first of the lines that is not printed after those before it, or None."""
    left = map(without_rounding, printed)
    return next((line for line in shown if without_rounding(line) not in left), None)


def renewed(shown, printed):
    """Find the lines that took the place of those that are shown: in their order, the most alike in all."""

    @functools.cache
    def best(i, start):
        if i == len(shown):
            return 0.0, ()
        choices = []
        for j in range(start, len(printed) - (len(shown) - i) + 1):
            rest, lines = best(i + 1, j + 1)
            choices.append((likeness(shown[i], printed[j]) + rest, (printed[j], *lines)))
        return max(choices, key=lambda choice: choice[0])

    return list(best(0, 0)[1])


@functools.cache
def likeness(one, other):
    """Say how alike two lines are, from 0 to 1; those with the same beginning are most."""
    same_name = one.split(maxsplit=1)[:1] == other.split(maxsplit=1)[:1]
    return (difflib.SequenceMatcher(None, one, other, autojunk=False).ratio() + same_name) / 2


def renew_outputs(page):
    """Write into a page what its commands and its code print now, where that is something else than what it shows."""
    text = page.read_text("utf-8")
    for block in blocks(page, "console"):
        first, *shown = block.splitlines()
        if first_not_printed(shown, printed := printed_by(first)) is not None:
            text = text.replace(block, "".join(f"{line}\n" for line in (first, *renewed(shown, printed))))
    for source, want, got in wrong_examples(page):
        typed = ">>> " + source.rstrip("\n").replace("\n", "\n... ") + "\n"
        assert typed + want in text
        text = text.replace(typed + want, typed + got, 1)
    page.write_text(text, "utf-8")


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
    assert not blocks(page, "python")  # which nothing would run
    assert not wrong_examples(page)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
@pytest.mark.usefixtures("real_digits")
def test_commands_print_what_is_shown(page):
    for block in blocks(page, "console"):
        first, *shown = block.splitlines()
        assert first.startswith("$ digitnet ")
        assert shown
        line = first_not_printed(shown, printed_by(first))
        assert line is None, f"{line!r} is not printed, or not after the lines before it"


def test_lines_are_renewed_by_those_that_took_their_place():
    printed = ["part    shape", "pixels  1x28x28  85.4%", "block1  64x12x12 96.0%", "block2  128x8x8  98.1%", "end"]
    assert renewed(["block1  48x12x12 96.2%", "block2  96x10x10 97.8%"], printed) == printed[2:4]
    assert renewed(["part    shape", "block2  96x10x10 97.8%"], printed) == [printed[0], printed[3]]


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
        renew_outputs(page)
        for file, command, name in figures(page):
            draw_once(command)[name].save(DOCS / file, optimize=True)
        sys.stderr.write(f"{page.name}\n")
