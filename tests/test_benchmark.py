"""scripts/benchmark: the arithmetic by hand, real processes of known length and size, and what it says of noise."""

import json
import math
import sys

import pytest
import torch
from conftest import run_python

from benchmarks import machine, peers, training
from benchmarks.__main__ import RUNS, choose_parts, parse
from benchmarks.context import Context
from benchmarks.loop import Data, flops_per_image, timed_fit
from benchmarks.measure import BenchmarkError, Ended, Part, difference, figure, ratio, run_checked, run_process
from benchmarks.processes import _share_right, _write_list
from benchmarks.report import failures, formatted, markdown, part_to_dict, write_json
from digitnet.data.digits import Digits
from digitnet.recipes import build_config

MACHINE = {
    "processor": "A processor", "cores": 2, "threads": 2, "instructions": "AVX512", "bf16_multiply": True, "gpu": None,
    "memory_mb": 16_000, "torch": "2.15", "python": "3.11", "digitnet": "0.1.0", "commit": None, "system": "Linux",
    "time": "2026-01-01T00:00:00Z", "busy": 0.01, "load_average_1min": 0.2,
}  # fmt: skip


class SteadyProbe:
    """Stands for a machine that multiplies at one speed."""

    used = 0.0

    def product(self):
        return 100.0

    def used_s(self):
        return self.used


def context(folder):
    return Context(folder=folder, device="cpu", probe=SteadyProbe())


def script(path, code):
    path.parent.mkdir(exist_ok=True)
    path.write_text(code)
    return path


def document(*parts, others=0.01, **changed):
    return {"machine": MACHINE | changed, "parts": {part.title: part_to_dict(part, others) for part in parts}}


def part(title="a part", products=(100.0, 101.0), **details):
    return Part(title=title, figures=(figure("a time", "s", [1.0, 2.0, 4.0]),), details=details, products=products)


def digits(count):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, 28, 28), dtype=torch.uint8, generator=generator)
    return Digits(name="random", images=images, targets=torch.arange(count) % 10, fingerprint="0")


# The statistics


def test_statistics_by_hand():
    found = figure("a time", "s", [1.0, 2.0, 6.0]).to_dict()
    assert (found["n"], found["mean"], found["min"], found["max"]) == (3, 3.0, 1.0, 6.0)
    assert found["std"] == pytest.approx(math.sqrt((4 + 1 + 9) / 2))  # over n - 1
    assert found["values"] == [1.0, 2.0, 6.0]


def test_one_value_has_no_spread():
    assert figure("a time", "s", [3.0]).to_dict()["std"] is None


def test_ratio_and_difference_go_round_by_round():
    theirs, ours = figure("theirs", "s", [10.0, 30.0]), figure("ours", "s", [1.0, 2.0])
    assert ratio("r", theirs, ours).values == (10.0, 15.0)  # not 40 / 3
    assert difference("d", theirs, ours).values == (9.0, 28.0)
    assert difference("d", theirs, ours).unit == "s"
    with pytest.raises(ValueError, match="shorter"):
        ratio("r", theirs, figure("ours", "s", [1.0]))


# Processes


MEASURED = """
import json, sys
from benchmarks.measure import run_process
found = []
for size in (0, 300):
    code = f"import time; block = b'x' * ({size} * 10**6); time.sleep(0.3)"
    ended = run_process([sys.executable, "-c", code], cwd=".")
    found.append([ended.seconds, ended.peak_mb, ended.exit_code])
found.append("torch" in sys.modules)
print(json.dumps(found))
"""


def test_a_process_has_its_own_time_and_peak_of_memory():
    # In a process that is small itself: what starts a process counts among the peak of that process.
    done = run_python("-c", MEASURED)
    assert done.returncode == 0, done.stderr
    small, large, has_torch = json.loads(done.stdout)
    assert 0.3 <= small[0] < 5
    assert small[1] < 60  # an interpreter; the first of two, so a peak over all children would show nothing here
    assert 300 < large[1] < 360
    assert small[2] == large[2] == 0
    assert not has_torch


def test_a_later_small_process_does_not_inherit_the_peak_of_an_earlier_one():
    done = run_python("-c", MEASURED.replace("(0, 300)", "(300, 0)"))
    large, small, _ = json.loads(done.stdout)
    assert large[1] > 300
    assert small[1] < 60


def test_input_output_and_exit_code_pass_through(tmp_path):
    (tmp_path / "list").write_text("one\ntwo\n")
    code = "import sys; print(sys.stdin.read().upper()); print('why', file=sys.stderr); sys.exit(3)"
    ended = run_process([sys.executable, "-c", code], cwd=tmp_path, stdin=tmp_path / "list")
    assert (ended.exit_code, ended.stdout, ended.stderr) == (3, b"ONE\nTWO\n\n", b"why\n")
    assert ended.last_lines(1) == ["TWO"]
    with pytest.raises(BenchmarkError, match=r"ended with exit code 3: why$"):
        run_checked([sys.executable, "-c", code], cwd=tmp_path, stdin=tmp_path / "list")


def test_a_program_that_is_not_there_is_said(tmp_path):
    with pytest.raises(BenchmarkError, match="no-such-program could not be started"):
        run_process(["no-such-program"], cwd=tmp_path)


def test_what_starts_processes_has_no_torch_in_it():
    code = "import sys, benchmarks.__main__; print(sorted({'torch', 'numpy', 'PIL'} & set(sys.modules)))"
    assert run_python("-c", code).stdout == "[]\n"


# Peers


def test_peer_is_understood(tmp_path):
    path = script(tmp_path / "theirs" / "main.py", "")
    found = peers.parse_peer("theirs/main.py --epochs '4 5'", tmp_path)
    assert found.command == (sys.executable, str(path), "--epochs", "4 5")
    assert found.folder == path.parent
    assert found.name == "theirs/main.py --epochs 4 5"
    assert peers.parse_peer("other-python -O theirs/main.py", tmp_path).command == ("other-python", "-O", str(path))


@pytest.mark.parametrize(("text", "reason"), [("--epochs 4", "no word"), ("gone.py", "there is no file")])
def test_a_peer_that_is_none_is_refused(text, reason, tmp_path):
    with pytest.raises(BenchmarkError, match=reason):
        peers.parse_peer(text, tmp_path)


def test_peers_of_one_name_are_refused(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        script(tmp_path / folder / "theirs" / "main.py", "")
    with pytest.raises(BenchmarkError, match="two peers are called theirs"):
        peers.parse_peers(["one/theirs/main.py", "two/theirs/main.py"], tmp_path)


def test_peers_run_in_turns_in_their_own_folders(tmp_path, monkeypatch):
    order = tmp_path / "order"
    log = f"import os, time; open({str(order)!r}, 'a').write(os.path.basename(os.getcwd()) + ' ');"
    script(tmp_path / "slow" / "a.py", f"{log} time.sleep(0.6); [print(i) for i in range(5)]")
    script(tmp_path / "broken" / "b.py", f"{log} raise SystemExit('no data here')")
    ours = script(tmp_path / "ours" / "c.py", f"{log} time.sleep(0.2)")

    def train(context, preset, seed):
        assert preset == "fast"
        return context.run((sys.executable, str(ours)), cwd=ours.parent), {"checkpoint": f"seed {seed}"}

    monkeypatch.setattr(peers, "train", train)
    monkeypatch.setattr(peers, "accuracy_on_test", lambda _, checkpoint: {"seed 0": 0.991, "seed 1": 0.993}[checkpoint])
    both = [peers.parse_peer(text, tmp_path) for text in ("slow/a.py", "broken/b.py")]
    found = part_to_dict(peers.measure_peers(context(tmp_path), 2, both), None)
    assert order.read_text().split() == ["ours", "slow", "broken", "ours", "slow"]
    figures = {one["name"]: one for one in found["figures"]}
    assert figures["train --preset fast"]["n"] == 2
    assert figures["its test accuracy"]["values"] == [0.991, 0.993]
    over = figures["slow/a.py: its time over ours"]
    times = zip(figures["slow/a.py"]["values"], figures["train --preset fast"]["values"], strict=True)
    assert over["values"] == [theirs / own for theirs, own in times]
    assert 1.2 < over["mean"] < 3  # 0.6 over 0.2 seconds, and the start of Python in both
    assert found["details"]["last_lines"]["slow/a.py"] == [["2", "3", "4"]] * 2
    assert failures(found) == ["broken/b.py: b.py ended with exit code 1: no data here"]
    assert "broken/b.py" not in figures


# Noise


def test_others_use_of_the_processor_is_counted(tmp_path, monkeypatch):
    stat = tmp_path / "stat"
    stat.write_text("cpu 100 0 50 800 50 0 0 0 7 0\ncpu0 1 1\n")  # user, nice, system, idle, waiting, ...
    after = "cpu 130 0 60 850 60 0 0 0 9 0\n"  # 30 + 10 of 100 ticks busy; guests are in user already
    monkeypatch.setattr(machine.time, "sleep", lambda _: stat.write_text(after))
    assert machine.busy(1.0, stat) == pytest.approx(0.4)


def test_what_is_not_ours_is_others(tmp_path, monkeypatch):
    stat, probe, ours = tmp_path / "stat", SteadyProbe(), [1.0, 0.5, 2.0, 0.5, 99.0]
    monkeypatch.setattr(machine.os, "sysconf", lambda _: 100)  # ticks a second
    monkeypatch.setattr(machine.os, "cpu_count", machine.cores)
    monkeypatch.setattr(machine.os, "times", lambda: tuple(ours))
    stat.write_text("cpu 1000 0 500 8000 500 0 0 0 0 0\n")
    watch = machine.Watch(probe, stat)
    stat.write_text("cpu 1600 0 700 8900 600 0 0 200 0 0\n")  # 20 s gone by: 10 worked, of them 2 for another machine
    ours[:4], probe.used = [3.0, 1.5, 4.0, 1.5], 1.0  # 6 of ours, and 1 of the probe's
    assert watch.others() == pytest.approx(0.15)
    ours[0] = 90.0
    assert watch.others() == 0.0
    monkeypatch.setattr(machine.os, "cpu_count", lambda: machine.cores() + 1)
    assert watch.others() is None


def test_without_a_counter_the_load_stands_for_it(tmp_path, monkeypatch):
    monkeypatch.setattr(machine.os, "getloadavg", lambda: (0.5, 9.0, 9.0))
    monkeypatch.setattr(machine, "cores", lambda: 2)
    assert machine.busy(1.0, tmp_path / "none") == 0.25


@pytest.mark.parametrize(("products", "noisy"), [((100, 114, 100), False), ((100, 116, 100), True), ((), False)])
def test_products_that_differ_are_noise(products, noisy):
    assert machine.is_noisy(products) is noisy


def test_noise_marks_the_rows_of_its_part_alone():
    text = markdown(document(part("quiet"), part("loud", products=(100.0, 150.0))))
    quiet, loud = text.split("**loud**")
    assert "noisy" not in quiet
    assert "| a time (noisy) | 3 |" in loud
    assert "during *loud*" in loud
    assert "varied by 40% (100 to 150 GFLOP/s" in loud  # of the median, 125


@pytest.mark.parametrize(("others", "marks"), [(None, 0), (0.02, 0), (0.2, 2)])
def test_others_at_work_mark_the_rows(others, marks):
    text = markdown(document(part("one"), part("two"), others=others))
    assert text.count("| a time (noisy) |") == marks
    assert text.count("others took 20% of the processor's time.") == marks


def test_a_busy_start_marks_every_row():
    text = markdown(document(part("one"), part("two"), busy=0.5))
    assert text.count("| a time (noisy) |") == 2
    assert "others took 50% of the processor's time: the machine was busy" in text


# What it says


def test_table_has_every_statistic():
    text = markdown(document(part()))
    assert "| **a part** | | | | | |\n| a time | 3 | 2.33 s | 1.53 s | 1.00 s | 4.00 s |\n" in text
    assert "A processor, 2 cores (2 threads, AVX512, bf16 products), 16,000 MB of memory" in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert widths == {7}


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(0.99031, "share", "99.03 %"), (378.4, "s", "378 s"), (2.345, "s", "2.35 s"), (1.1749, "x", "1.17 x"),
     (85.44, "x", "85.4 x"), (47659.6, "images/s", "47,660 images/s"), (790.6, "MB", "791 MB")],
)  # fmt: skip
def test_values_for_people(value, unit, text):
    assert formatted(value, unit) == text


def test_json_is_the_whole_of_it_and_makes_the_same_table(tmp_path):
    whole = document(part(seeds=[0, 1, 2]))
    write_json(tmp_path / "out.json", whole)
    read = json.loads((tmp_path / "out.json").read_text())
    assert markdown(read) == markdown(whole)
    found = read["parts"]["a part"]
    assert found["details"] == {"seeds": [0, 1, 2]}
    assert found["matrix_product"]["values"] == [100.0, 101.0]
    assert found["matrix_product"]["spread"] == pytest.approx(1 / 100.5)
    assert list(tmp_path.iterdir()) == [tmp_path / "out.json"]


def test_what_failed_is_in_the_table():
    whole = document(part())
    whole["parts"]["bulk"] = {"title": "bulk", "error": "predict | failed"}
    assert "| not measured: predict \\| failed | | | | | |" in markdown(whole)
    assert failures(whole["parts"]["bulk"]) == ["predict | failed"]
    assert not failures(whole["parts"]["a part"])


# The parts


def test_parts_follow_from_the_options():
    quick = choose_parts(parse(["--quick"]), on_gpu=False)
    assert list(quick) == ["fast", "loop", "startup", "bulk", "augment", "width", "size"]
    assert quick["fast"] == RUNS["fast"][1]
    assert "gpu" in choose_parts(parse(["--quick"]), on_gpu=True)
    assert choose_parts(parse(["--only", "size", "--only", "loop", "--runs", "4"]), on_gpu=True) == {
        "loop": 4,
        "size": 4,
    }
    assert choose_parts(parse(["--quick", "--only", "standard"]), on_gpu=False) == {"standard": RUNS["standard"][0]}
    assert choose_parts(
        parse(["--only", "fast", "--peer", "x.py", "--peer-runs", "1", "--runs", "7"]), on_gpu=False
    ) == {
        "fast": 7,
        "peer": 1,
    }


def test_a_gpu_that_is_not_there_is_said():
    assert choose_parts(parse(["--only", "gpu"]), on_gpu=True) == {"gpu": RUNS["gpu"][0]}
    with pytest.raises(BenchmarkError, match="no GPU"):
        choose_parts(parse(["--only", "gpu"]), on_gpu=False)


@pytest.mark.parametrize("wrong", [["--only", "peer"], ["--runs", "0"], ["--only", "all"], ["--bulk-files", "1000"]])
def test_wrong_options_are_refused(wrong, capsys):
    with pytest.raises(SystemExit) as ended:
        parse(wrong)
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_without_mnist_one_line_says_so():
    done = run_python("-m", "benchmarks", "--only", "size")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert "MNIST" in line


def test_lists_repeat_files_and_answers_are_checked(tmp_path):
    path = _write_list(tmp_path / "list", ["0-7.png", "1-2.png"], 3)
    assert path.read_text() == "0-7.png\n1-2.png\n0-7.png\n"
    answers = [{"path": "0-7.png", "digit": 7}, {"path": "1-2.png", "digit": 3}]
    said = "".join(json.dumps(answer) + "\n" for answer in answers).encode()
    assert _share_right(said, 2) == 0.5
    with pytest.raises(BenchmarkError, match="2 of 3"):
        _share_right(said, 3)
    with pytest.raises(BenchmarkError, match="could not read some"):
        _share_right(said + b'{"path": "gone.png", "error": "not there"}\n', 3)


def small_mlp(**settings):
    return build_config(kind="mlp", preset="fast", overrides={"hidden_sizes": (32,), "batch_size": 20, **settings})


def test_operations_by_hand():
    # 2 for each multiply-add; forward, the weights' gradients, and the second layer's gradient on its way back.
    expected = 2 * (2 * 784 * 32 + 3 * 32 * 10)
    assert flops_per_image(small_mlp(), Data(train=digits(100), few=digits(10))) == expected


def test_operations_that_were_not_counted_are_no_zero(monkeypatch):
    monkeypatch.setattr("benchmarks.loop.FlopCounterMode.get_total_flops", lambda _: 0)
    with pytest.raises(AssertionError, match="no longer calls"):
        flops_per_image(small_mlp(), Data(train=digits(100), few=digits(10)))


def test_the_loop_is_timed_over_all_of_its_images():
    data = Data(train=digits(200), few=digits(10))
    timed = timed_fit(small_mlp(epochs=3), data, torch.device("cpu"))
    assert timed.images_per_s_all * timed.seconds == pytest.approx(3 * 200)
    assert timed.images_per_s > 0


def test_the_loop_ends_at_its_limit():
    data = Data(train=digits(200), few=digits(10))
    assert timed_fit(small_mlp(epochs=100_000), data, torch.device("cpu"), limit_s=0.2).seconds < 5


def test_rounds_are_in_turns_and_the_first_is_not_counted(monkeypatch):
    products, ran = iter(range(100)), []
    monkeypatch.setattr(training, "matrix_product", lambda *_: next(products))
    timed, kept = training._rounds(["a", "b"], 2, torch.device("cpu"), lambda name: ran.append(name) or len(ran))
    assert ran == ["a", "b"] * 3
    assert timed == {"a": [3, 5], "b": [4, 6]}
    assert kept == [2, 3, 4, 5]


def test_gpu_part_counts_what_comes_after_the_warm_up(monkeypatch):
    easy = digits(300)
    easy.images.zero_()
    easy.images[torch.arange(300), 0, easy.targets] = 255  # a 3 is a bright third row
    monkeypatch.setattr(training, "load_training", lambda _: (easy, easy))
    monkeypatch.setattr(training, "load_digits", lambda *_: easy)
    monkeypatch.setattr(training, "matrix_product", lambda *_: 1.0)
    monkeypatch.setattr(training, "configure", lambda _, seed: small_mlp(seed=seed, epochs=3))
    clock = iter([0, 50, 100, 101, 200, 202])  # before and after each run
    monkeypatch.setattr(training.time, "perf_counter", lambda: next(clock))
    found = part_to_dict(training.gpu(torch.device("cpu"), 2), None)
    assert [one["values"] for one in found["figures"]] == [[1, 2], [1.0, 1.0], [50]]
    assert found["details"] == {"seeds": [0, 1]}


def test_the_last_lines_are_of_stderr_where_stdout_is_empty():
    ended = Ended(seconds=1.0, peak_mb=1.0, exit_code=0, stdout=b" \n", stderr=b"one\ntwo\n")
    assert ended.last_lines(3) == ["one", "two"]
