"""What figures share: their size, their files, what is said where matplotlib is missing, and no state left behind."""

import matplotlib as mpl
import pytest
from conftest import run_python
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


def test_the_colours_are_all_different():
    assert len(set(PALETTE)) == 8


def test_a_shape_is_said_in_words():
    assert shape_text((10, 784)) == "10 x 784"


def test_where_matplotlib_is_missing_one_line_says_how_to_get_it():
    code = "import sys; sys.modules['matplotlib'] = None; import digitnet.explain.figures"
    done = run_python("-c", code)
    assert done.stderr.splitlines()[-1] == (
        "digitnet.errors.DigitnetError: figures need matplotlib, which is missing; get it by: pip install matplotlib"
    )
