"""``predict``, from end to end: its inputs and its forms of answer, what cannot be read and what is turned away."""

import csv
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import digitnet_command, save_png
from PIL import Image
from test_cli import invoke

from digitnet.data.strokes import draw_strokes


@pytest.fixture
def predict(run_folder):
    """Run predict with the small network and return its result."""
    return lambda *arguments, **options: invoke("predict", "--checkpoint", run_folder, *arguments, **options)


@pytest.fixture
def expected(classifier, digit_files):
    """A list of (path, digit)."""
    return [(str(path), classifier.predict(path).digit) for path in digit_files]


def test_answers_as_text(predict, digit_files, expected):
    lines = predict(*digit_files).stdout.splitlines()
    assert [line.split("  ")[0] for line in lines] == [f"{path}: {digit}" for path, digit in expected]
    assert all(line.count("%") == 3 for line in lines)
    assert all(line.count("%") == 1 for line in predict("--top-k", 1, *digit_files).stdout.splitlines())


def test_answers_as_json_lines_and_csv(predict, digit_files, expected):
    document = json.loads(predict("--json", "--top-k", 2, *digit_files).stdout)
    lines = [json.loads(line) for line in predict("--jsonl", "--top-k", 2, *digit_files).stdout.splitlines()]
    assert lines == document["predictions"]
    assert [(line["path"], line["digit"]) for line in lines] == expected
    for line in lines:
        assert line["confidence"] == max(line["probs"]) == line["top"][0]["prob"]
        assert line["top"][0]["digit"] == line["digit"]
        assert len(line["top"]) == 2
    rows = list(csv.DictReader(predict("--csv", *digit_files).stdout.splitlines()))
    assert [(row["path"], int(row["digit"])) for row in rows] == expected
    assert [[float(row[f"p{k}"]) for k in range(10)] for row in rows] == [line["probs"] for line in lines]


def test_folders_patterns_and_stdin_name_the_same_files(predict, digit_files, expected):
    folder = digit_files[0].parent
    listed = "\n".join(map(str, digit_files)) + "\n\n"
    for arguments, options in (
        ([folder], {}),
        ([folder / "*.png"], {}),
        (["-"], {"input": listed}),
        (["-"], {"input": listed.replace("\n", "\r\n")}),
        ([f"{str(folder)[:-1]}?/0[0-9]-*.png", *digit_files[10:]], {}),
        ([f"{str(folder)[:-1]}?"], {}),
    ):
        lines = predict("--jsonl", *arguments, **options).stdout.splitlines()
        assert [(line["path"], line["digit"]) for line in map(json.loads, lines)] == expected, arguments


def test_nothing_to_read_is_no_success(predict):
    assert "the list on stdin is empty" in predict("-", input="\n", code=3).stderr
    assert "one of the inputs is empty" in predict("", code=2).stderr


def test_a_folder_without_pictures_says_so(predict):
    Path("empty").mkdir()
    assert "empty is a folder that holds no pictures (PNG, JPEG" in predict("empty", code=3).stderr


def test_a_folders_sub_folders_count_and_its_other_files_do_not(predict, digit_files):
    pixels = draw_strokes(1, seed=0)[0][0, 0]
    for name in ("b.png", "a/c.PNG"):
        save_png(Path("pictures") / name, pixels)
    Path("pictures/notes.txt").write_text("not a picture")
    Path("pictures/._b.png").write_text("what a Mac leaves beside b.png")
    Path("odd[1].png").write_bytes(digit_files[0].read_bytes())  # a name that looks like a pattern
    lines = predict("--jsonl", "pictures", "odd[1].png").stdout.splitlines()
    assert [json.loads(line)["path"] for line in lines] == ["pictures/a/c.PNG", "pictures/b.png", "odd[1].png"]


BAD = {
    "text": lambda path: path.write_text("not a picture"),
    "empty": lambda path: path.touch(),
    "missing": lambda _: None,
    "folder": lambda path: path.mkdir(),
    "cut": lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(30)),
}


@pytest.mark.parametrize("form", [[], ["--json"], ["--jsonl"], ["--csv"]], ids=" ".join)
@pytest.mark.parametrize("make", BAD.values(), ids=BAD)
def test_what_cannot_be_read_is_named_and_the_rest_go_on(predict, digit_files, make, form):
    make(Path("bad.png"))
    result = predict(*form, digit_files[0], "bad.png", digit_files[1], code=3)
    assert all(path.name in result.stdout for path in digit_files[:2])
    faults = result.stderr.splitlines()[1:]
    assert len(faults) == 2
    assert "bad.png" in faults[0]
    assert faults[1] == "error: 1 input could not be read"
    if form == ["--json"]:
        assert [error["path"] for error in json.loads(result.stdout)["errors"]] == ["bad.png"]


@pytest.mark.parametrize("name", ["a" * 300 + ".png", "gone-*.png", "scans/**.png", "\udcff.png", "x\nname: 7.png"])
def test_an_odd_name_that_is_not_there_does_not_stop_the_rest(predict, digit_files, name):
    result = predict(name, digit_files[0], code=3)
    assert digit_files[0].name in result.stdout
    assert len(result.stderr.splitlines()) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
@pytest.mark.parametrize("form", [[], ["--json"], ["--jsonl"], ["--csv"]], ids=" ".join)
def test_a_name_that_is_no_text_and_one_that_would_steer_the_terminal_are_answered(predict, digit_files, form):
    names = ["\udcff.png", "\x1b[31mred\x07\n.png"]
    for name in names:
        Path(name).write_bytes(digit_files[0].read_bytes())
    result = predict(*form, *names)
    if form != ["--csv"]:  # there the name stands as it is
        assert not {"\x1b", "\x07"} & set(result.stdout)
        assert len(result.stdout.splitlines()) == 2 or form == ["--json"]
    assert not {"\x1b", "\x07"} & set(result.stderr)


def test_a_list_with_bytes_that_are_no_text_is_read_too(predict, digit_files):
    result = predict("--jsonl", "-", input=b"\xff-gone.png\n" + bytes(digit_files[0]) + b"\n", code=3)
    assert [json.loads(line)["path"] for line in result.stdout.splitlines()][1:] == [str(digit_files[0])]


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.gif", "a.tif", "a.webp", "a.bmp", "a.pgm"])
def test_a_picture_on_stdin_is_read_itself(predict, digit_files, name):
    with Image.open(digit_files[0]) as picture:
        picture.resize((280, 280)).save(name)
    (line,) = predict("--jsonl", name).stdout.splitlines()
    (piped,) = predict("--jsonl", "-", input=Path(name).read_bytes()).stdout.splitlines()
    assert json.loads(piped) == json.loads(line) | {"path": "-"}


def test_a_picture_on_stdin_may_be_large_or_damaged_and_stands_among_others(predict, digit_files):
    noise = torch.randint(256, (900, 900), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    large = save_png(Path("large.png"), noise).read_bytes()  # more than is read at once
    assert predict("-", digit_files[0], input=large).stdout.splitlines()[0].startswith("-: ")
    assert json.loads(predict("--number", "--jsonl", "-", input=digit_files[0].read_bytes()).stdout)["path"] == "-"
    result = predict("-", digit_files[0], input=large[:5000], code=3)
    assert result.stderr.splitlines()[1] == (
        "error: cannot read the picture on stdin: the picture is damaged or cut short"
    )
    assert digit_files[0].name in result.stdout


def test_what_is_neither_a_list_nor_a_picture_is_said_to_be(predict):
    for data in (b"\x7fELF\x02\x01\x01\0\0\0\n\n\n", b"a.png\0b.png\0"):
        result = predict("-", input=data, code=2)
        assert result.stdout == ""
        assert result.stderr.splitlines()[1:] == [
            "error: stdin holds neither names of pictures, a line each, nor a picture that digitnet can read"
        ]


@pytest.mark.timeout(60)
def test_an_answer_comes_soon_after_each_line_of_a_list_that_goes_on(run_folder, expected):
    command = [sys.executable, "-m", "digitnet", "predict", "--checkpoint", run_folder, "--jsonl", "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        for path, digit in expected:
            process.stdin.write(f"{path}\n".encode())
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())  # would wait for ever if nothing came
            assert (answer["path"], answer["digit"]) == (path, digit)
        process.stdin.close()
        assert process.stdout.read() == b""
    assert process.returncode == 0


def test_a_list_may_be_cut_anywhere_on_its_way(predict, expected):
    block = 1 << 16  # what is read at once; the names come to several of these
    names = [path for path, _ in expected] * (3 * block // len("\n".join(path for path, _ in expected)) + 1)
    lines = predict("--jsonl", "--top-k", 1, "-", input="\n".join(names)).stdout.splitlines()
    assert [json.loads(line)["path"] for line in lines] == names


def test_a_folder_is_read_in_the_order_of_its_names_wherever_its_links_lead(predict):
    pixels = draw_strokes(1, seed=0)[0][0, 0]
    for name in ("b/2.png", "b/1.png", "a.png", "b.png", "c.png/3.png", "b/.hidden/0.png"):
        save_png(Path("tree") / name, pixels)
    Path("tree/b/up").symlink_to(Path("tree").resolve(), target_is_directory=True)
    Path("tree/z.png").symlink_to("a.png")
    lines = predict("--jsonl", "tree").stdout.splitlines()
    names = ["a.png", "b/.hidden/0.png", "b/1.png", "b/2.png", "b.png", "c.png/3.png", "z.png"]
    assert [json.loads(line)["path"] for line in lines] == [f"tree/{name}" for name in names]
    assert sorted(Path(name) for name in names) == [Path(name) for name in names]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("predict", "--csv", "PICTURES"), "Using"),
        (("predict", "--json", "PICTURES"), "Using"),  # all at once, at the end
        (("info",), "Using"),  # a table, by Rich
        (("info", "--json"), "Using"),
        (("predict", "--help"), ""),
        (("--version",), ""),
    ],
    ids=" ".join,
)
def test_a_reader_that_goes_away_ends_it_quietly_with_the_code_of_a_broken_pipe(
    run_folder, digit_files, arguments, said
):
    paths = [str(digit_files[0].parent) if argument == "PICTURES" else argument for argument in arguments]
    chosen = {"predict": ["--checkpoint", run_folder], "info": [run_folder]}.get(arguments[0] if said else "", [])
    command = [sys.executable, "-m", "digitnet", *paths, *chosen]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        shown = process.stderr.read().decode()
    assert process.returncode == 141
    assert [line.split()[0] for line in shown.splitlines()] == ([said] if said else [])


def test_the_fault_decides_the_code_where_nobody_reads_what_it_was():
    for arguments, code in ((["nonsense"], 2), (["info", "gone"], 1)):
        command = [sys.executable, "-m", "digitnet", *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            process.stderr.close()
            assert process.stdout.read() == b""
        assert process.returncode == code


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no such device here")
@pytest.mark.parametrize("arguments", [["info"], ["info", "--json"], ["--help"]], ids=" ".join)
def test_results_that_cannot_be_written_are_a_failure(run_folder, arguments):
    command = [sys.executable, "-m", "digitnet", *arguments, *([] if "--help" in arguments else [run_folder])]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(command, check=False, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == "error: No space left on device"
    assert "Traceback" not in ended.stderr


# What is turned away.


@pytest.fixture
def blank():
    """Make a picture with no ink and return its path."""
    return save_png(Path("blank.png"), torch.full((40, 30), 250, dtype=torch.uint8))


def test_a_blank_picture_is_an_answer_and_no_fault(predict, digit_files, blank):
    result = predict(digit_files[0], blank, "--reject-rate", 0)
    assert result.stdout.splitlines()[1] == "blank.png: turned away: blank"
    assert "error" not in result.stderr
    document = json.loads(predict("--json", blank).stdout)
    (answer,) = document["predictions"]
    assert (answer["accepted"], answer["reason"], answer["digit"], answer["top"]) == (False, "blank", None, [])
    assert document["errors"] == []
    assert json.loads(predict("--jsonl", blank).stdout) == answer
    (row,) = csv.DictReader(predict("--csv", blank).stdout.splitlines())
    assert (row["digit"], row["accepted"], row["reason"]) == ("", "false", "blank")


def test_the_share_that_may_be_turned_away_is_chosen(predict, digit_files, expected):
    for none in ("0", "0%", "0.0"):
        lines = predict("--reject-rate", none, *digit_files).stdout.splitlines()
        assert [line.split("  ")[0] for line in lines] == [f"{path}: {digit}" for path, digit in expected]
    for every in ("1.0", "100%"):
        lines = predict("--reject-rate", every, *digit_files).stdout.splitlines()
        assert len(lines) == len(expected)
        for line, (path, digit) in zip(lines, expected, strict=True):
            assert line.startswith(f"{path}: turned away: not a digit (nearest {digit}, ")
    shares = [predict("--jsonl", "--reject-rate", rate, *digit_files).stdout for rate in ("0.3", "30%")]
    assert shares[0] == shares[1]
    left_out, one_percent = (predict("--jsonl", *rate, *digit_files).stdout for rate in ([], ["--reject-rate", "1%"]))
    assert left_out == one_percent


@pytest.mark.parametrize("form", [[], ["--json"], ["--jsonl"], ["--csv"]], ids=" ".join)
def test_turning_away_is_code_4_where_that_is_asked_for_after_the_results(predict, digit_files, blank, form):
    options = [*form, "--reject-rate", 0]
    predict(*options, "--fail-on-reject", digit_files[0])
    result = predict(*options, "--fail-on-reject", digit_files[0], blank, digit_files[1], code=4)
    assert result.stderr.splitlines()[-1] == "error: 1 picture was turned away"
    assert result.stdout == predict(*options, digit_files[0], blank, digit_files[1]).stdout
    two = predict(*options, "--fail-on-reject", blank, blank, code=4)
    assert two.stderr.splitlines()[-1] == "error: 2 pictures were turned away"
    both = predict(*options, "--fail-on-reject", "gone.png", blank, code=3)
    assert both.stderr.splitlines()[-1] == "error: 1 input could not be read, and 1 picture was turned away"
    assert "turned away" not in predict(*options, "gone.png", blank, code=3).stderr


@pytest.mark.parametrize(("closed", "code"), [("<&-", 2), (">&-", 0), ("2>&-", 0)])
def test_streams_that_the_shell_has_closed(run_folder, digit_files, closed, code):
    source = "-" if closed == "<&-" else shlex.quote(str(digit_files[0]))
    program = f"{shlex.quote(sys.executable)} -m digitnet predict --checkpoint {shlex.quote(str(run_folder))} {source}"
    shell = ["/bin/sh", "-c", f"{program} {closed}"]
    ended = subprocess.run(shell, check=False, capture_output=True, text=True, timeout=120)
    assert ended.returncode == code
    assert "Traceback" not in ended.stderr
    assert ended.stdout.count("\n") == (1 if closed == "2>&-" else 0)


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a terminal")
@pytest.mark.parametrize("options", [["--csv"], ["--csv", "--number"]], ids=" ".join)
def test_csv_in_a_terminal_does_not_steer_it(run_folder, digit_files, options):
    name = "\x1b[31mred\x07.png"
    Path(name).write_bytes(digit_files[0].read_bytes())
    ours, theirs = os.openpty()
    done = digitnet_command("predict", *options, name, "--checkpoint", run_folder, capture_output=False, stdout=theirs)
    os.close(theirs)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    assert done.returncode in (0, 3)
    assert "\\x1b[31mred\\x07.png," in shown
    assert "\x1b" not in shown
