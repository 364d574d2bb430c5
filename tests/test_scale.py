"""scripts/scale: shards against tarfile and Pillow, the simulation by hand, kills of a small launcher, the page."""

import io
import json
import random
import re
import shlex
import sys
import tarfile
import time

import numpy as np
import pytest
import typer
from PIL import Image
from torch.distributed.run import get_args_parser

from benchmarks.measure import BenchmarkError, Ended, run_checked
from digitnet.assignment import Share
from digitnet.cli import app
from digitnet.data.strokes import draw_strokes
from digitnet.errors import DataError
from scale import launches, measure
from scale.__main__ import main
from scale.cluster import Plan, Shard
from scale.document import PAGE, RESULTS, block, measured_rate, renewed
from scale.kills import check_parts, launch_and_kill, read_labels
from scale.launches import Launch
from scale.measure import ONE, SINGLE, TWO, Sizes
from scale.options import parse
from scale.parts import measure_parts
from scale.results import add_results, read_results
from scale.simulation import simulate, table, to_dict


def write(folder, count=25, *options):
    return main(["shards", str(folder), "--count", str(count), "--per-shard", "10", "--workers", "1", *options])


def read(folder):
    """List (name, bytes) of all members of all shards, and check what else is in their headers."""
    found = []
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                assert (member.mtime, member.uid, member.mode, member.isreg()) == (0, 0, 0o644, True)
                found.append((member.name, archive.extractfile(member).read()))
    return found


def test_shards_hold_the_digits_of_the_stream(tmp_path, capsys):
    assert write(tmp_path / "shards", 25, "--seed", "3", "--workers", "2") == 0
    assert "3 of 3 shards written: 25 digits" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "shards").glob("*.tar")) == [f"digits-00000{i}.tar" for i in "012"]
    members = read(tmp_path / "shards")
    assert [name for name, _ in members] == [f"{i:08}.{kind}" for i in range(25) for kind in ("png", "cls")]
    images, targets = draw_strokes(25, seed=3)
    assert [int(data) for name, data in members if name.endswith(".cls")] == targets.tolist()
    for (_, data), image in zip(members[::2], images, strict=True):
        with Image.open(io.BytesIO(data)) as picture:
            assert picture.mode == "L"
            assert np.array_equal(np.asarray(picture), image[0])


def test_a_second_start_makes_what_is_missing_and_the_same_bytes(tmp_path, capsys):
    write(tmp_path)
    first = {path: path.read_bytes() for path in tmp_path.glob("*.tar")}
    kept, gone = tmp_path / "digits-000000.tar", tmp_path / "digits-000001.tar"
    written_ns = kept.stat().st_mtime_ns
    gone.unlink()
    (tmp_path / ".digits-000001.tar.abc.part").write_bytes(b"half")  # what a killed one left
    assert write(tmp_path) == 0
    assert "1 of 3 shards written: 10 digits" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in tmp_path.glob("*.tar")} == first
    assert kept.stat().st_mtime_ns == written_ns
    assert not list(tmp_path.glob(".*"))


def test_other_settings_need_another_folder(tmp_path, capsys):
    write(tmp_path)
    assert write(tmp_path, 25, "--seed", "1") == 2
    assert "name another folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [["shards", "x", "--count", "0"], ["shards"], [], ["simulate", "--failures", "1:x"], ["simulate", "--rate", "0"]],
)
def test_wrong_command_lines_are_refused(arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


# Units of 5 s, and 10 s to start.
SMALL = Plan(
    shards=4, per_shard=50, nodes=1, workers=1, rate=10, worker_spread=0, shard_spread=0, restart_s=10, repair_s=100,
    partitions=0,
)  # fmt: skip
FAILING = Plan(shards=3000, nodes=3, workers=2, worker_mtbf_h=0.2, node_mtbf_h=0.5, partitions=0.5)


def launch(events, nodes=1):
    """Let a launch of one worker a node do four units, with failures at given times."""
    speeds = [[10.0]] * nodes
    made = Launch(SMALL, [Shard(i, 1.0) for i in range(4)], range(nodes), speeds)
    for event in events:
        made._schedule(*event)
    return made, made.run()


def test_a_worker_that_fails_by_hand():
    made, tally = launch([(17.0, "worker fails", 0)])
    # 10 to start, a unit of 5, 2 lost, 10 to start, three units.
    assert (tally.elapsed_s, tally.useful_s, tally.lost_s, tally.restarting_s) == (42, 20, 2, 20)
    assert (tally.worker_failures, tally.restarts, tally.lost_units) == (1, 1, 1)
    assert made.completed == {0: 1, 1: 1, 2: 1, 3: 1}


def test_a_failure_while_the_workers_start_begins_that_anew():
    _, tally = launch([(4.0, "worker fails", 0)])
    assert (tally.elapsed_s, tally.restarting_s, tally.lost_s) == (34, 14, 0)


def test_a_node_that_fails_by_hand():
    # 0 and 1 are done at 15; at 17 the second node fails; from 27 the first does 2 and 3, until 37.
    made, tally = launch([(17.0, "node fails", 1)], nodes=2)
    assert made.completed == dict.fromkeys(range(4), 1)
    assert (tally.elapsed_s, tally.useful_s, tally.lost_s) == (37, 20, 4)
    assert (tally.restarting_s, tally.down_s) == (20 + 10, 20)


def test_all_wait_for_the_first_node():
    _, tally = launch([(17.0, "node fails", 0)], nodes=2)
    # Away from 17 to 117, 10 to start, and a unit each.
    assert (tally.elapsed_s, tally.down_s) == (132, 200)


@pytest.mark.parametrize("mode", ["one", "per-node"])
def test_all_time_is_accounted_for_and_all_units_are_done(mode):
    outcome = simulate(FAILING, mode)
    tally = outcome.tally
    times = (tally.useful_s, tally.lost_s, tally.restarting_s, tally.down_s, tally.idle_s)
    assert min(times) > 0
    assert tally.worker_failures > 0
    assert sum(times) == pytest.approx(tally.elapsed_s * 6)
    assert outcome.merged == sum(outcome.completed.values()) == 3000
    assert outcome == simulate(FAILING, mode)  # the same failures each time


def test_a_unit_that_two_completed_is_in_the_result_once():
    plan = Plan(shards=60, per_shard=1_000_000, nodes=3, workers=2, node_mtbf_h=0.5, partitions=1)
    outcome = simulate(plan, "one")
    assert max(outcome.completed) > 1
    assert outcome.merged == 60


@pytest.mark.parametrize("units", [slice(1, None), slice(None, -1)])
def test_an_assignment_that_leaves_units_out_is_noticed(monkeypatch, units):
    class Wrong(Share):
        def __iter__(self):
            return iter(list(super().__iter__())[units])

    monkeypatch.setattr(launches, "Share", Wrong)
    with pytest.raises(AssertionError, match="units left"):
        simulate(SMALL, "one")


def test_simulate_writes_a_table_and_keeps_what_else_is_in_the_file(tmp_path, capsys):
    path = tmp_path / "results.json"
    path.write_text('{"other": 1}')
    small = ["--shards", "50", "--nodes", "2", "--workers", "1", "--seeds", "2"]
    assert main(["simulate", *small, "--failures", "never:never", "--failures", "1:2", "--json", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 2 * 2
    assert lines[2].startswith("| never, never | one |")
    document = json.loads(path.read_text())
    assert document["other"] == 1
    assert [len(row) for row in document["simulation"]] == [2] * 4


# A launcher: two workers, which it starts anew once when one of them dies; the second ones end by themselves.
LAUNCHER = """
import subprocess, sys, time
def start(seconds):
    code = f"import time; time.sleep({seconds})"
    return [subprocess.Popen([sys.executable, "-c", code, "digitnet"]) for _ in range(2)]
workers = start(60)
open(sys.argv[1], "w").close()
while all(worker.poll() is None for worker in workers):
    time.sleep(0.01)
for worker in workers:
    worker.kill()
time.sleep(0.2)
sys.exit(max(worker.wait() for worker in start(0.5)))
"""


def kill(tmp_path, code=LAUNCHER):
    sign = tmp_path / "sign"
    command = [sys.executable, "-c", code, str(sign)]
    return launch_and_kill(command, tmp_path / "log", sign.exists, random.Random(0))


def test_a_worker_is_killed_and_others_are_started(tmp_path):
    started = time.monotonic()
    killed = kill(tmp_path)
    assert killed.code == 0, killed.said
    assert killed.again_s >= 0.2
    assert time.monotonic() - started < 30  # which a worker that nobody killed would take


def test_a_launch_that_starts_nobody_anew_is_told_apart(tmp_path):
    killed = kill(
        tmp_path, LAUNCHER.replace("start(0.5)", "[]").replace("max(", "max([1], key=lambda _: 0) and 3 or (")
    )
    assert killed.again_s is None
    assert killed.code != 0


def test_a_launch_that_ends_before_it_is_half_way_is_no_trial(tmp_path):
    with pytest.raises(BenchmarkError, match="before a worker was killed"):
        kill(tmp_path, "import sys; sys.exit('no such option')")


@pytest.fixture
def answered(tmp_path):
    """Two shards, and answers to them that are all right."""
    write(tmp_path / "shards", 20)
    shards, output = sorted((tmp_path / "shards").glob("*.tar")), tmp_path / "answers"
    output.mkdir()
    for number, shard in enumerate(shards):
        lines = [{"path": f"{shard}/{name}", "digit": digit} for name, digit in read_labels(shard).items()]
        (output / f"part-{number:06}-0a1b2c3d.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return shards, output


def test_parts_that_are_as_the_shards(answered):
    shards, output = answered
    assert check_parts(output, shards) == (20, 20, [])


def swap(lines):
    return [lines[1], lines[0], *lines[2:]]


@pytest.mark.parametrize("spoil", [swap, lambda lines: lines[:-1], lambda lines: [*lines, lines[-1]]])
def test_parts_that_leave_out_or_repeat_or_change_the_order_are_found(answered, spoil):
    shards, output = answered
    part = next(output.iterdir())
    part.write_text("".join(spoil(part.read_text().splitlines(keepends=True))))
    assert "in their order, once each" in check_parts(output, shards)[2][0]


def test_what_else_may_be_wrong_with_parts(answered):
    shards, output = answered
    (output / ".part-000000.x.part").touch()
    (output / "part-000000-ffffffff.jsonl").touch()
    faults = check_parts(output, shards)[2]
    assert "left over" in faults[0]
    assert "2 shards have 3 parts" in faults[1]


def ended(seconds):
    return Ended(seconds=seconds, peak_mb=1.0, exit_code=0, stdout=b"", stderr=b"")


def way(command):
    return TWO if "torch.distributed.run" in command else ONE if "OMP_NUM_THREADS=2" in command else SINGLE


def test_ways_of_training_are_in_turns_and_the_first_epoch_does_not_count(tmp_path, monkeypatch):
    ran = []

    def run(command, cwd):
        ran.append(way(command))
        folder = cwd / "runs" / command[command.index("--name") + 1]
        folder.mkdir(parents=True)
        rate = {TWO: 1800, ONE: 2000, SINGLE: 1000}[ran[-1]] + len(ran) // 4  # the second round is a little faster
        (folder / "metrics.csv").write_text(f"epoch,images_per_s\n1,5\n2,{rate}\n3,{rate}\n")

    monkeypatch.setattr(measure, "run_checked", run)
    found = measure.measure_training(Sizes(runs=2, presets=("fast",)), tmp_path)["presets"]["fast"]
    assert ran == [TWO, ONE, SINGLE] * 2
    assert found[TWO]["values"] == pytest.approx((1800, 1801))
    assert found["ratio"]["median"] == pytest.approx((1800 / 2000 + 1801 / 2001) / 2)
    assert (found["ratio"]["n"], found[ONE]["least"], found[ONE]["most"]) == (2, 2000, pytest.approx(2001))


def test_bulk_prediction_is_measured_without_its_start(tmp_path, monkeypatch):
    def run(command, **_):  # 3 s to start
        shards = sum(word.endswith(".tar") for word in command)
        return ended(3 + 10 * shards / {TWO: 40, ONE: 20, SINGLE: 10}[way(command)])

    monkeypatch.setattr(measure, "run_checked", run)
    sizes = Sizes(runs=2, networks=("pretrained-mlp",), short=20, long=60, per_shard=10)
    found = measure.measure_bulk(sizes, tmp_path)["networks"]["pretrained-mlp"]
    assert found[TWO]["median"] == pytest.approx(40)
    assert found["ratio"]["median"] == pytest.approx(2)
    assert found["start"][ONE]["median"] == pytest.approx(3)


def test_the_commands_run(tmp_path):
    """What is measured is a command that digitnet takes; in several processes only where it can."""
    options = ["--preset", "fast", "--dataset", "strokes", "--train-size", "90", "--epochs", "2", "--device", "cpu"]
    run_checked(measure.alone(1, "train", *options, "--output", str(tmp_path), "--name", "a"), cwd=tmp_path)
    assert measure.images_per_s(tmp_path / "a" / "metrics.csv") > 0


def test_parts_of_a_prediction(tmp_path):
    found = measure_parts(Sizes(runs=2, networks=("pretrained-mlp",), pictures=120), tmp_path)
    times = {name: one["values"] for name, one in found["seconds_per_million"].items()}
    for precision in ("fp32", "bf16"):
        parts = ("read the shard", "decode", "prepare", f"network, pretrained-mlp, {precision}", "write")
        rest = times[f"the rest, pretrained-mlp, {precision}"]
        summed = [sum(values) for values in zip(*(times[part] for part in parts), rest, strict=True)]
        assert summed == pytest.approx(times[f"all, pretrained-mlp, {precision}"])
    assert min(times["decode"]) > 0
    assert found["bytes_per_picture"]["shard"] == pytest.approx((4 * 512 * 120 + 1024) / 120)


def test_the_page_is_made_of_the_results():
    page = PAGE.read_text("utf-8")
    assert renewed(page, read_results(RESULTS)) == page, "python -m scale docs writes it anew"


def test_the_simulation_on_the_page_is_what_the_assignment_does_now():
    rows = read_results(RESULTS).get("simulation")
    if not rows:
        pytest.skip("nothing was simulated for the page yet")
    (stored, *_), _, *_ = rows
    plan = {name: float("inf") if value is None else value for name, value in stored["plan"].items()}
    assert table([[to_dict(simulate(Plan(**plan), stored["mode"]))]]) == table([[stored]])


def typed_commands():
    """List the command lines on the page, in words."""
    for text in re.findall(r"```sh\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL):
        yield from map(shlex.split, text.replace("\\\n", " ").splitlines())


def test_commands_on_the_page_are_as_the_programs_take_them():
    kinds = set()
    for program, *words in typed_commands():
        kinds.add(program)
        if program == "./scripts/scale":
            parse(words, dict.fromkeys(("shards", "simulate", "measure", "kill", "docs")), "")
            continue
        launched = get_args_parser().parse_args(words if program == "torchrun" else ["-m", "digitnet", *words])
        assert (launched.module, launched.training_script) == (True, "digitnet")
        name, *options = launched.training_script_args
        known = {name for parameter in typer.main.get_command(app).commands[name].params for name in parameter.opts}
        assert {word for word in options if word.startswith("--")} <= known
    assert kinds == {"torchrun", "digitnet", "./scripts/digitnet", "./scripts/scale"}


def test_figures_typed_by_hand_are_noticed():
    page = "<!-- measured: day -->\n| 3 cores | enough |\n<!-- end -->\n"
    assert renewed(page, {}) == "<!-- measured: day -->\nNot measured yet.\n<!-- end -->\n"


def figures(value):
    return {"n": 1, "unit": "", "values": [value]} | dict.fromkeys(("median", "least", "most"), value)


RESULT = {
    "machine": {"processor": "P", "cores": 2, "busy": 0.01},
    "presets": {"fast": {way: figures(2e4) for way in (TWO, ONE, SINGLE, "ratio")}},
    "images": 10, "epochs": 2, "pictures": 5, "bytes_per_picture": {"shard": 2000.0, "answers": 500.0},
    "seconds_per_million": {
        "read the shard": figures(40), "decode": figures(40), "prepare": figures(6.4),
        "all, pretrained-cnn, fp32": figures(864),
    },
}  # fmt: skip


def test_what_a_day_needs_by_hand():
    results = {"training": RESULT, "parts": RESULT}
    lines = block("day", results).splitlines()
    assert "| 10.0 cores | predict them, pretrained-cnn, fp32 |" in lines  # 864 s x 1000 / 86,400 s
    assert any(line.startswith("| 1.0 cores | of these, read, decode and prepare") for line in lines)
    assert "| 23.1 MB/s, 2.00 TB | shards to read |" in lines
    assert "| 0.6 cores | train on them, preset fast |" in lines  # 50 s a million
    assert "| 0.03 of an H100 | train on them, preset fast, the images being there |" in lines
    assert "| training, preset fast | 50 s of a core |" in block("cost", results)
    assert measured_rate(results) == pytest.approx(1e6 / 864)


@pytest.mark.parametrize("name", ["training", "bulk", "parts", "killed", "simulation"])
def test_every_block_can_be_written(name):
    killed = {"faults": [], "trials": 3, "tensors": 7, "again_s": [1.25], "pictures": 20, "right": 19, "shards": 2}
    bulk = {"machine": RESULT["machine"], "networks": RESULT["presets"], "long": 2, "short": 1}
    results = {"training": RESULT, "parts": RESULT, "bulk": bulk, "simulation": [[to_dict(simulate(SMALL, "one"))]]}
    results |= {"killed training": killed, "killed bulk": killed | {"again_s": None, "faults": ["one"]}}
    text = block(name, results)
    assert {
        "training": "20,000 images/s (20,000 to 20,000)",
        "bulk": "the time for 2 pictures less that for 1",
        "parts": "| decode | 40.0 s (40.0 to 40.0) |",
        "killed": "1.2 s after the kill",
        "simulation": table(results["simulation"]),
    }[name] in text


def test_results_that_are_none_are_refused(tmp_path):
    path = tmp_path / "results.json"
    path.write_text("[1]")
    with pytest.raises(DataError, match="no results"):
        add_results(path, "parts", {})
