"""scripts/torture: its options and its table, and each ordeal in a short form."""

import json

import pytest
from conftest import ROOT, run_python

from torture import __main__ as torture
from torture import command_lines, commands, concurrency, leaks
from torture.commands import Ended, faults
from torture.leaks import State
from torture.outcome import Outcome


def outcome(name="some", failures=(), trials=1_200):
    return Outcome(name=name, trials=trials, failures=failures, figures={"longest_s": 1.5}, elapsed_s=2.0)


@pytest.fixture
def ordeals(monkeypatch):
    """Put three ordeals in the place of the real ones, and list how they are called."""
    calls = []

    def make(name, failures=()):
        def ordeal(trials, seed):
            calls.append((name, trials, seed))
            return outcome(name, failures, trials)

        return ordeal

    found = {"good": make("good"), "bad": make("bad", ("it broke",)), "last": make("last")}
    monkeypatch.setattr(torture, "ORDEALS", {name: torture.Ordeal(one, 100, 5) for name, one in found.items()})
    return calls


@pytest.mark.parametrize(
    ("options", "calls"),
    [
        ([], [("good", 100, 0), ("bad", 100, 0), ("last", 100, 0)]),
        (["--quick"], [("good", 5, 0), ("bad", 5, 0), ("last", 5, 0)]),
        (["--only", "last", "--only", "good", "--seed", "7"], [("good", 100, 7), ("last", 100, 7)]),
        (["--quick", "--trials", "3", "--only", "good"], [("good", 3, 0)]),
    ],
)
def test_options_say_what_is_tried(ordeals, options, calls):
    torture.main(options)
    assert ordeals == calls


def test_a_failing_ordeal_is_told_and_the_others_go_on(ordeals, capsys, tmp_path):
    assert torture.main(["--json", str(tmp_path / "out.json")]) == 1
    assert [name for name, *_ in ordeals] == ["good", "bad", "last"]
    table = capsys.readouterr().out.splitlines()
    assert table[0] == "| ordeal | trials | failures | figures | time |"
    assert table[2:5] == [
        "| good | 100 | 0 | longest_s 1.5 | 2.0 s |",
        "| bad | 100 | 1 | longest_s 1.5 | 2.0 s |",
        "| last | 100 | 0 | longest_s 1.5 | 2.0 s |",
    ]
    assert table[5:] == ["", "Failures of bad:", "- it broke"]
    document = json.loads((tmp_path / "out.json").read_text())
    assert [one["failures"] for one in document["outcomes"]] == [[], ["it broke"], []]


def test_all_well_is_exit_code_0(ordeals):
    assert torture.main(["--only", "good"]) == 0
    assert ordeals


@pytest.mark.usefixtures("ordeals")
def test_an_ordeal_that_breaks_off_or_tries_nothing_has_failed(monkeypatch, capsys):
    def break_off(_trials, _seed):
        raise OSError("no more")

    for attempt, said in (
        (break_off, "the ordeal broke off: OSError: no more"),
        (lambda _trials, _seed: outcome(trials=0), "nothing was tried"),
    ):
        monkeypatch.setitem(torture.ORDEALS, "good", torture.Ordeal(attempt, 100, 5))
        assert torture.main(["--only", "good"]) == 1
        assert said in capsys.readouterr().out


@pytest.mark.parametrize("options", [["--trials", "0"], ["--only", "nonsense"], ["--seed", "x"]])
def test_wrong_options_are_refused(options, capsys):
    with pytest.raises(SystemExit) as end:
        torture.main(options)
    assert end.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_the_script_runs_the_module():
    text = (ROOT / "scripts" / "torture").read_text()
    assert text.splitlines()[-1] == 'exec "$venv/bin/python" -m torture "$@"'
    done = run_python("-m", "torture", "--help")
    assert done.returncode == 0
    assert "--quick" in done.stdout


# Command lines


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of what was interrupted half made
def test_malformed_command_lines_end_plainly():
    found = commands.commands(40, seed=1)
    assert found.passed, found.failures
    assert found.trials == 40
    assert found.figures["exit_2"] > 10


def test_every_command_gets_lines():
    words = {command.words for command in command_lines.commands()}
    assert {(), ("train",), ("predict",), ("explain",), ("explain", "image")} <= words


def test_a_bug_in_a_command_is_found(monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(commands, "COMMAND", broken)
    monkeypatch.setattr(commands, "fill", lambda folder: folder.mkdir())
    failures = commands.commands(5, seed=0).failures
    assert len(failures) == 5
    assert all(failure.startswith("digitnet [") and "ZeroDivisionError: a bug" in failure for failure in failures)


@pytest.mark.parametrize(
    ("ended", "fault"),
    [
        (Ended(0, "fine\n", ""), None),
        (Ended(2, "", "error: wrong\n"), None),
        (Ended(3, "", "error: one\nerror: two\n"), None),
        (Ended(2, "", ""), "with 0 error lines"),
        (Ended(1, "", "error: one\nerror: two\n"), "with 2 error lines"),
        (Ended(3, "", "Using it.\n"), "without an error line"),
        (Ended(141, "", ""), "exit code 141"),
        (Ended(-9, "", ""), "exit code -9"),
        (Ended(0, "\x1b[31m", ""), "raw control characters"),
        (Ended(2, "", "error: \x9b31m\n"), "raw control characters"),
        (Ended(0, "", "Exception ignored in: x\nTraceback (most recent call last):\n"), "a traceback"),
        (Ended(130, "", "error: interrupted\nTraceback (most recent call last):\n", interrupted=True), None),
    ],
)
def test_how_a_command_line_ends_is_judged(ended, fault):
    found = list(faults(["train", "--epochs", "0"], ended))
    assert [fault in one for one in found] == ([True] if fault else [])


def test_csv_may_hold_names_as_they_are():
    raw = Ended(3, "\x1b[31m,,\n", "error: one\n")
    assert not list(faults(["predict", "--csv", "x"], raw))
    assert list(faults(["predict", "--csv", "x"], Ended(3, "", "error: \x1b[31m\n")))


def test_a_line_that_trains_for_long_is_interrupted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = "train --model mlp --preset fast --dataset strokes --train-size 90 --epochs 1000000 --device cpu"
    ended = commands.run_line(line.split(), limit_s=1.0)
    assert ended.interrupted
    assert (ended.code, ended.error) == (130, None)
    assert ended.stderr.endswith("error: interrupted\n")


# Leaks


def test_predictions_leave_nothing_behind():
    found = leaks.predictions(5_000, seed=1)
    assert found.passed, found.failures
    assert found.trials >= 5_000


@pytest.mark.parametrize(
    ("last", "fault"),
    [
        (State(149.0, 9, 3), None),
        (State(151.0, 9, 3), "memory grew from 100.0 to 151.0 MB"),
        (State(100.0, 10, 3), "open files: 9 at first, 10"),
        (State(100.0, 9, 4), "threads: 3 at first, 4"),
    ],
)
def test_what_grows_is_found(last, fault):
    found = list(leaks.faults([State(100.0, 9, 3), last]))
    assert [fault in one for one in found] == ([True] if fault else [])


def test_a_file_that_stays_open_is_seen(tmp_path):
    before = leaks.look()
    with (tmp_path / "file").open("w"):
        assert leaks.look().handles == before.handles + 1
    assert leaks.look() == State(pytest.approx(before.resident_mb, abs=50), before.handles, before.threads)


# Several processes at once


@pytest.mark.timeout(300)
def test_nobody_sees_half_a_file():
    found = concurrency.concurrency(20, seed=1)
    assert found.passed, found.failures
    assert found.figures["reads"] >= 2
    assert (found.figures["downloads_killed"], found.figures["runs"], found.figures["runs_refused"]) == (1, 5, 3)
