"""``predict --output``: every picture is answered once, in parts, whatever ends it, and as predict alone answers it."""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import launching
import pytest
from test_cli import invoke

from digitnet.bulk import units

OUT = Path("out")


@pytest.fixture
def predict(run_folder):
    """Run predict with the small network and return its result."""
    return lambda *arguments, **options: invoke("predict", "--checkpoint", run_folder, *arguments, **options)


@pytest.fixture(scope="module")
def pictures(digit_files):
    """The bytes of twelve PNG files."""
    return [path.read_bytes() for path in digit_files]


def write_shard(path, pictures):
    """A shard as WebDataset has it: a label beside each picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for number, data in enumerate(pictures):
            for suffix, content in (("cls", b"7"), ("png", data)):
                info = tarfile.TarInfo(f"{number:06}.{suffix}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def shards(pictures):
    """Four shards in a folder, with 3, 4, 5 and 12 pictures."""
    parts = [pictures[:3], pictures[3:7], pictures[7:], pictures]
    return [write_shard(Path(f"shards/train-{number:06}.tar"), part) for number, part in enumerate(parts)]


def parts():
    return sorted(path.name for path in OUT.glob("part-*.jsonl"))


def answers():
    """All answers, in the order of the parts."""
    return [json.loads(line) for name in parts() for line in (OUT / name).read_text().splitlines()]


def alone(predict, *inputs, **options):
    """What predict answers without --output."""
    return [json.loads(line) for line in predict("--jsonl", *inputs, **options).stdout.splitlines()]


def summary():
    return json.loads((OUT / "summary.json").read_text())


def near(found):
    """Answers with fractions to five digits: the others depend on which pictures a network reads together."""
    return json.loads(json.dumps(found), parse_float=lambda text: pytest.approx(float(text), abs=1e-5))


def assert_whole(expected):
    """The parts and the summary hold these answers, once."""
    assert answers() == near(expected)
    read = [answer for answer in expected if "error" not in answer]
    accepted = [answer for answer in read if answer["accepted"]]
    found = summary()
    assert (found["inputs"], found["answered"], found["turned_away"], found["errors"]) == (
        len(expected), len(accepted), len(read) - len(accepted), len(expected) - len(read))  # fmt: skip
    assert found["digits"] == {str(digit): sum(a["digit"] == digit for a in accepted) for digit in range(10)}
    assert found["made_of"] == {k: v for k, v in json.loads((OUT / "bulk.json").read_text()).items() if k != "format"}
    assert found["units"] == len(parts()) == len(list(OUT.glob("part-*-*.json")))
    assert not list(OUT.glob(".*.part"))


@pytest.mark.parametrize("inputs", [["shards"], ["shards/*.tar"], ["shards/train-{000000..000003}.tar"]], ids=str)
def test_shards_are_a_part_each_with_what_predict_alone_answers(predict, shards, inputs):
    result = predict("--output", OUT, "--top-k", 2, *inputs)
    assert_whole(alone(predict, "--top-k", 2, *inputs))
    assert [len((OUT / name).read_text().splitlines()) for name in parts()] == [3, 4, 5, 12]
    assert [answer["path"] for answer in answers()][:4] == [
        *(f"{shards[0]}/{number:06}.png" for number in range(3)), f"{shards[1]}/000000.png"]  # fmt: skip
    assert "inputs       24\n" in result.stdout
    assert f"parts        4 in {OUT}" in result.stdout


def test_pictures_are_put_into_parts_and_a_shard_between_them_is_one(predict, shards, digit_files, monkeypatch):
    monkeypatch.setattr(units, "UNIT_PICTURES", 5)
    inputs = [digit_files[0].parent, shards[0], digit_files[0]]
    predict("--output", OUT, *inputs)
    assert_whole(alone(predict, *inputs))
    assert [len((OUT / name).read_text().splitlines()) for name in parts()] == [5, 5, 2, 3, 1]


def test_a_list_on_stdin_and_a_picture_there(predict, shards, digit_files, pictures, monkeypatch):
    monkeypatch.setattr(units, "UNIT_PICTURES", 5)
    listed = "\n".join(map(str, [*digit_files[:7], shards[1], *digit_files[7:]]))
    predict("--output", OUT, "-", input=listed)
    assert_whole(alone(predict, "-", input=listed))
    assert [len((OUT / name).read_text().splitlines()) for name in parts()] == [5, 2, 4, 5]
    assert "nothing was missing" in predict("--output", OUT, "-", input=listed).stdout
    predict("--output", "other", "-", input=pictures[0])
    assert json.loads(next(Path("other").glob("part-*.jsonl")).read_text())["path"] == "-"
    assert "the list on stdin is empty" in predict("--output", "none", "-", input="", code=3).stderr


def test_a_list_that_does_not_end_is_answered_as_it_comes(run_folder, digit_files):
    command = [sys.executable, "-m", "digitnet", "predict", "--checkpoint", str(run_folder), "--output", "out", "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdin.write(f"{digit_files[0]}\n".encode() * 100)
        process.stdin.flush()
        deadline = time.monotonic() + 60
        while not any(path.stat().st_size for path in OUT.glob(".part-*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert time.monotonic() < deadline
        assert parts() == []
        process.communicate(timeout=60)
    assert len(answers()) == 100


def test_numbers_are_read_in_bulk_too(predict, shards):
    predict("--output", OUT, "--number", shards[0])
    assert answers() == near(alone(predict, "--number", shards[0]))
    read = "".join(answer["number"] for answer in answers() if answer["accepted"])
    assert summary()["digits"] == {str(digit): read.count(str(digit)) for digit in range(10)}


def test_what_cannot_be_read_is_counted_told_and_in_the_parts(predict, shards):
    shards[1].write_bytes(shards[1].read_bytes()[:5_000])
    Path("shards/text.png").write_text("no picture")
    result = predict("--output", OUT, "shards", "gone-{1..2}.tar", code=3)
    assert_whole(alone(predict, "shards", "gone-{1..2}.tar", code=3))
    assert f"error: {shards[1]} is cut short" in result.stderr
    assert result.stderr.splitlines()[-1] == "error: 4 inputs could not be read"
    assert [answer["path"] for answer in answers() if "error" in answer] == [
        "shards/text.png", "shards/train-000001.tar", "gone-1.tar", "gone-2.tar"]  # fmt: skip
    assert len([a for a in answers() if a["path"].startswith(f"{shards[1]}/")]) == 2  # before the cut


def test_many_errors_are_not_all_told(predict):
    write_shard(Path("bad.tar"), [b"no picture"] * 30)
    lines = predict("--output", OUT, "bad.tar", code=3).stderr.splitlines()
    assert len(lines) == 23
    assert lines[-2:] == ["Further errors are told in the parts alone.", "error: 30 inputs could not be read"]


@pytest.mark.usefixtures("shards")
def test_fail_on_reject_and_a_rate_mean_what_they_mean_alone(predict):
    assert "24 pictures were turned away" in predict(
        "--output", OUT, "--fail-on-reject", "--reject-rate", "100%", "shards", code=4).stderr  # fmt: skip
    assert summary()["turned_away"] == 24
    predict("--output", OUT, "--reject-rate", "100%", "shards")


@pytest.mark.parametrize("option", ["--json", "--jsonl", "--csv", "--show"])
@pytest.mark.usefixtures("shards")
def test_forms_of_answers_on_stdout_have_no_meaning_with_it(predict, option):
    assert "--output writes JSON lines into a folder" in predict("--output", OUT, option, "shards", code=2).stderr
    assert not OUT.exists()


@pytest.mark.usefixtures("shards")
def test_a_second_start_does_only_what_is_missing(predict):
    predict("--output", OUT, "shards")
    whole, before = answers(), {path: path.stat().st_mtime_ns for path in OUT.glob("part-*")}
    (lost,) = OUT.glob("part-000002-*.json")
    lost.unlink()
    (OUT / ".part-000002.abc.part").write_text("half")
    (OUT / "part-000003-00000000.jsonl").write_text("renamed, and killed before its counts")
    result = predict("--output", OUT, "shards")
    assert "3 parts are there already" in result.stderr
    assert "this time    5 in " in result.stdout
    assert_whole(whole)
    again = {path: path.stat().st_mtime_ns for path in OUT.glob("part-*")}
    assert {path for path in again if again[path] != before[path]} == {lost, lost.with_suffix(".jsonl")}
    assert "nothing was missing" in predict("--output", OUT, "shards").stdout


@pytest.mark.usefixtures("shards")
def test_a_start_that_is_killed_is_gone_on_with(run_folder, predict, pictures):
    for number in range(4, 40):
        write_shard(Path(f"shards/train-{number:06}.tar"), pictures * 20)
    command = ["-m", "digitnet", "predict", "--checkpoint", str(run_folder), "--output", "out", "shards"]
    with subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while len(list(OUT.glob("part-*-*.json"))) < 6 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
    kept = {path.name for path in OUT.glob("part-*-*.json")}
    assert 6 <= len(kept) < 40
    result = predict("--output", OUT, "shards")
    missing = sum(json.loads(path.read_text())["inputs"] for path in OUT.glob("part-*-*.json") if path.name not in kept)
    assert f"this time    {missing:,} in " in result.stdout
    assert_whole(alone(predict, "shards"))


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
@pytest.mark.usefixtures("shards")
def test_ctrl_c_says_that_the_same_command_goes_on(run_folder, pictures):
    write_shard(Path("shards/train-000009.tar"), pictures * 1_000)
    command = ["-m", "digitnet", "predict", "--checkpoint", str(run_folder), "--output", "out", "shards"]
    with subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while len(list(OUT.glob("part-*-*.json"))) < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 130
    assert "The parts that are whole are kept in out; the same command goes on with what is missing." in said
    assert not list(OUT.glob(".*.part"))


def test_inputs_that_changed_are_noticed(predict, shards, pictures):
    predict("--output", OUT, "shards")
    write_shard(shards[1], pictures * 2)
    said = predict("--output", OUT, "shards", code=1).stderr
    assert f"the inputs have changed: {shards[1]} stands where another one was done (unit 1); name another" in said
    write_shard(shards[1], pictures[3:7])
    predict("--output", OUT, "shards")
    shards[3].unlink()
    assert "they have 3 units, and 1 others were done" in predict("--output", OUT, "shards", code=1).stderr


def test_a_shard_that_was_not_there_is_looked_for_again(predict, shards):
    away = shards[1].rename("away.tar")
    first = predict("--output", OUT, *shards, code=3)
    assert "No such file" in first.stderr
    predict("--output", OUT, *shards, code=3)  # still not there, and still an error
    away.rename(shards[1])
    predict("--output", OUT, *shards)
    assert_whole(alone(predict, *shards))


def test_pictures_that_changed_are_noticed(predict, digit_files, monkeypatch):
    monkeypatch.setattr(units, "UNIT_PICTURES", 5)
    predict("--output", OUT, "-", input="\n".join(map(str, digit_files)))
    other = "\n".join(map(str, [*digit_files[:7], digit_files[0], *digit_files[8:]]))
    said = predict("--output", OUT, "-", input=other, code=1).stderr
    assert f"the pictures from {digit_files[5]} on stands where another one was done (unit 1)" in said


def test_a_folder_keeps_to_what_it_was_begun_with(predict, shards):
    predict("--output", OUT, "shards")
    for name, arguments in {
        "--top-k 3, and not 5": ["--top-k", 5, "shards"],
        "--number False, and not True": ["--number", "shards"],
        "--reject-rate 0.01, and not 0.05": ["--reject-rate", "5%", "shards"],
        "other inputs: shards, and not shards/*.tar": ["shards/*.tar"],
        "another network (--checkpoint)": ["--checkpoint", "pretrained-mlp", "shards"],
    }.items():
        said = predict("--output", OUT, *arguments, code=2).stderr
        assert f"out was begun with {name}; name another folder by --output" in said
    Path("mine").mkdir()
    Path("mine/letter.txt").touch()
    assert "mine holds other files, such as letter.txt" in predict("--output", "mine", "shards", code=2).stderr
    assert "is not a folder" in predict("--output", shards[0], "shards", code=2).stderr


@pytest.mark.usefixtures("shards")
def test_two_at_once_do_not_fill_one_folder(predict):
    from filelock import FileLock

    OUT.mkdir()
    with FileLock(OUT / ".lock"):
        assert "out is being filled by another process" in predict("--output", OUT, "shards", code=2).stderr


@pytest.mark.usefixtures("shards")
@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"inputs": 3}'])
def test_damaged_counts_are_said_to_be(predict, damage):
    predict("--output", OUT, "shards")
    next(OUT.glob("part-000001-*.json")).write_text(damage)
    assert "is damaged" in predict("--output", OUT, "shards", code=1).stderr
    next(OUT.glob("part-000001-*.json")).unlink()
    next(OUT.glob("part-000002-*.jsonl")).unlink()
    assert "is missing; remove part-000002" in predict("--output", OUT, "shards", code=1).stderr


def test_a_unit_is_digested_without_being_read_and_passed_over_without_being_digested(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(7)]
    first, second = (list(units.units(iter([*paths[:4], None, *paths[4:]]))) for _ in range(2))
    assert [str(unit) for unit in first] == [f"the pictures from {paths[0]} on"]
    assert len(second) == 1
    going = units.units(iter(paths))
    assert next(going).digest == next(units.units(iter([None, *paths]))).digest
    assert next(going, None) is None
    assert next(units.units(iter(paths[:6]))).digest != next(units.units(iter(paths))).digest


def launched(size, *arguments, **options):
    """Run predict in so many processes; return how each ended."""
    return launching.launch(size, "-m", "digitnet", "predict", *arguments, **options)


def test_two_processes_do_what_one_does(predict, run_folder, shards):
    shards[1].write_bytes(shards[1].read_bytes()[:5_000])
    first, second = launched(2, "--checkpoint", run_folder, "--output", OUT, "shards", "gone.png")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert_whole(alone(predict, "shards", "gone.png", code=3))
    assert "inputs       24" in first.stdout
    assert "unreadable   2" in first.stdout
    assert second.stdout == ""
    told = [line for process in (first, second) for line in process.stderr.splitlines() if line.startswith("error: ")]
    assert sorted(told) == [
        "error: cannot read gone.png: No such file or directory",
        f"error: {shards[1]} is cut short",
    ]
    assert "nothing was missing" in predict("--output", OUT, "shards", "gone.png", code=3).stdout


@pytest.mark.usefixtures("shards")
@pytest.mark.skipif(sys.platform != "linux", reason="finds the workers in /proc")
def test_torchrun_goes_on_after_a_worker_was_killed(predict, run_folder, pictures):
    for number in range(4, 40):
        write_shard(Path(f"shards/train-{number:06}.tar"), pictures * 20)
    arguments = ["digitnet", "predict", "--checkpoint", run_folder, "--output", OUT, "shards"]
    process = launching.torchrun(2, *arguments, options=["--max-restarts", "1"])
    deadline = time.monotonic() + 60
    while len(list(OUT.glob("part-*-*.json"))) < 6:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(launching.workers(process, 2)[1], signal.SIGKILL)
    ended = launching.end(process)
    assert ended.returncode == 0, ended.stderr
    assert "parts are there already" in ended.stderr
    assert_whole(alone(predict, "shards"))


def test_what_cannot_be_read_is_no_failure_of_a_process(run_folder, shards):
    """For which torchrun would start all of them anew, to no end."""
    arguments = ["digitnet", "predict", "--checkpoint", run_folder, "--output", OUT, shards[0], "nowhere.png"]
    ended = launching.end(launching.torchrun(2, *arguments, options=["--max-restarts", "1"]))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("nowhere.png") == 0
    assert "error: cannot read nowhere.png" in ended.stderr
    assert summary()["errors"] == 1


def test_several_processes_need_a_folder_and_say_so_once(run_folder, shards):
    ended = launched(2, "--checkpoint", run_folder, shards[0])
    assert [process.returncode for process in ended] == [2, 2]
    told = [line for process in ended for line in process.stderr.splitlines() if line.startswith("error: ")]
    assert told == ["error: several processes write their answers into a folder; name it by --output"]


def test_a_list_is_not_read_on_from_where_a_killed_process_had_come(predict, digit_files, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    said = predict("--output", OUT, "-", input=f"{digit_files[0]}\n", code=1).stderr
    assert "a list on stdin comes but once" in said


def test_large_members_are_held_one_at_a_time_and_stay_in_order(predict, pictures, monkeypatch):
    monkeypatch.setattr("digitnet.predictor.SMALL_BYTES", 0)
    ahead = alone(predict, write_shard(Path("a.tar"), pictures))
    monkeypatch.setattr("digitnet.predictor.HELD_BYTES", 0)
    held = alone(predict, "a.tar")
    assert held == near(ahead)
    assert [answer["path"] for answer in held] == [f"a.tar/{number:06}.png" for number in range(12)]
