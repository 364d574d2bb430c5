"""What figures share: their size, their files, what is said where matplotlib is missing, and no state left behind."""

import matplotlib as mpl
import pytest
from conftest import run_python
from matplotlib import cbook
from PIL import Image

from digitnet.explain.figures import PALETTE, figure_file, shape_text


def draw(path, title="a line"):
    with figure_file(path, title=title, source="base.block1.conv1: 8 x 1 x 3 x 3", height_in=4) as figure:
        axes = figure.subplots()
        axes.plot([1, 2, 4])


def test_a_figure_is_1200_pixels_wide_and_the_same_each_time(tmp_path):
    draw(tmp_path / "made" / "a.png")
    draw(tmp_path / "made" / "b.png")
    draw(tmp_path / "made" / "c.png", title="another line")
    with Image.open(tmp_path / "made" / "a.png") as picture:
        assert picture.size == (1200, 400)
        assert not picture.text  # which would say the version of matplotlib
    first, second, other = (path.read_bytes() for path in sorted((tmp_path / "made").iterdir()))
    assert first == second != other


def test_a_figure_leaves_nothing_behind(tmp_path):
    before = dict(mpl.rcParams)
    draw(tmp_path / "a.png")
    with pytest.raises(ZeroDivisionError), figure_file(tmp_path / "b.png", title="", source="", height_in=4):
        1 / 0  # noqa: B018
    assert dict(mpl.rcParams) == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    code = "import sys, digitnet.explain.figures; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert run_python("-c", code).returncode == 0


@pytest.mark.parametrize("name", [r"$\fr{$", "$x$", "5 $", "a$b$c"])
def test_what_a_file_is_called_is_no_formula(tmp_path, name):
    with figure_file(tmp_path / "a.png", title=f"of {name}", source=name, height_in=4) as figure:
        pass  # a formula that is none raises as it is drawn
    texts = {text.get_text() for text in (figure._suptitle, figure._supxlabel)}
    shown = {text.replace(r"\$", "$") for text in texts}
    assert shown == {f"of {name}", name}
    assert not any(cbook.is_math_text(text) for text in texts)


def test_the_colours_are_all_different():
    assert len(set(PALETTE)) == 8


def test_a_shape_is_said_in_words():
    assert shape_text((10, 784)) == "10 x 784"


@pytest.mark.parametrize("command", [["unit"], ["step", "--dataset", "strokes"]], ids=lambda command: command[0])
def test_where_matplotlib_is_missing_one_line_says_how_to_get_it(command):
    code = "import sys; sys.modules['matplotlib'] = None; from digitnet.cli import main; main()"
    done = run_python("-c", code, "explain", *command, "--output", "figures")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == "error: figures need matplotlib, which is missing; get it by: pip install matplotlib\n"
