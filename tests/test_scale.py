"""scripts/scale: shards against tarfile and Pillow, and the simulation by hand."""

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from digitnet.assignment import Share
from digitnet.data.strokes import draw_strokes
from scale import launches
from scale.__main__ import main
from scale.cluster import Plan, Shard
from scale.launches import Launch
from scale.simulation import simulate


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
    assert "3 shards of 3 written: 25 digits" in capsys.readouterr().out
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
    assert "1 shards of 3 written: 10 digits" in capsys.readouterr().out
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
    _, tally = launch([(17.0, "node fails", 1)], nodes=2)
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
