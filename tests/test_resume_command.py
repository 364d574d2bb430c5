"""``digitnet train --resume``, ``--save-every`` and signals, as a person and a machine meet them."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_cli import fail, invoke

from digitnet import training
from digitnet.cli import interruption
from digitnet.errors import InterruptedRunError
from digitnet.runs import BEST, CURVES, LAST, locked
from digitnet.snapshots import find_states, load_newest
from digitnet.training import Saving

OPTIONS = ("--model", "mlp", "--preset", "fast", "--hidden-sizes", "16", "--dropout", "0.2", "--dataset", "strokes")
SMALL = (*OPTIONS, "--train-size", "90", "--batch-size", "20", "--epochs", "3", "--schedule", "constant")
STEPS = 5  # of an epoch


@pytest.fixture
def stop_at(monkeypatch):
    """Let SIGTERM come after a step of the next run."""

    def stop(step):
        due = Saving.due

        def due_and_signal(self, number):
            if number == step:
                monkeypatch.setattr(Saving, "due", due)
                os.kill(os.getpid(), signal.SIGTERM)
            return due(self, number)

        monkeypatch.setattr(Saving, "due", due_and_signal)

    return stop


def interrupted(stop_at, step, *arguments, name="mine"):
    stop_at(step)
    done = invoke("train", *arguments, "--name", name, code=143)
    assert done.stderr.splitlines()[-1] == f"error: interrupted after step {step}, and saved"
    return done


def weights(name, file=LAST):
    return load_file(Path("checkpoints") / name / file)


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def step_of(name):
    return load_newest(Path("checkpoints") / name).snapshot.state.position.step


def test_a_run_that_was_stopped_says_how_to_go_on_and_ends_the_same(stop_at):
    invoke("train", *SMALL, "--name", "whole")
    done = interrupted(stop_at, 8, *SMALL)
    assert "The best network so far is checkpoints/mine/best.safetensors." in done.stderr
    assert "To go on: digitnet train --resume checkpoints/mine" in done.stderr
    assert done.stdout == ""
    done = invoke("train", "--resume", "checkpoints/mine", "--json")
    assert "Going on with run checkpoints/mine after step 8." in done.stderr
    assert [line.split()[0] for line in done.stderr.splitlines() if re.match(r"\d/", line)] == ["2/3", "3/3"]
    report = json.loads(done.stdout)
    assert (report["epochs_run"], report["stop"]) == (3, "epochs")
    assert same(weights("mine"), weights("whole"))
    assert same(weights("mine", BEST), weights("whole", BEST))
    assert Path("checkpoints/mine", CURVES).exists()
    assert not list(Path("checkpoints/mine").glob(".*.part"))


def test_a_run_is_named_by_its_folder_or_its_name_wherever_runs_are(stop_at):
    interrupted(stop_at, 3, *SMALL, "--output", "elsewhere")
    line = fail("train", "--resume", "mine", code=1)
    assert line.startswith("error: no run at mine")
    invoke("train", "--resume", "mine", "--output", "elsewhere")
    assert load_newest(Path("elsewhere/mine")).snapshot.state.position.stop == "epochs"


def test_before_the_first_epoch_ends_nothing_is_lost_either(stop_at):
    done = interrupted(stop_at, 3, *SMALL)
    assert "best network" not in done.stderr
    assert step_of("mine") == 3
    invoke("train", "--resume", "mine")


def test_auto_begins_then_goes_on_then_leaves_alone(stop_at):
    again = (*SMALL, "--resume", "auto")
    interrupted(stop_at, 8, *again)
    invoke("train", *again, "--name", "mine")
    done = invoke("train", *again, "--name", "mine")
    assert "Run checkpoints/mine has ended" in done.stderr
    assert "saved      checkpoints/mine/best.safetensors" in done.stdout
    invoke("train", *SMALL, "--name", "whole")
    assert same(weights("mine"), weights("whole"))


def test_auto_without_a_name_takes_the_newest_that_has_not_ended(stop_at):
    interrupted(stop_at, 3, *SMALL, name="first")
    interrupted(stop_at, 4, *SMALL, name="second")
    invoke("train", *SMALL, "--name", "ended")
    assert "Going on with run checkpoints/second" in invoke("train", "--resume", "auto").stderr
    assert "Going on with run checkpoints/first" in invoke("train", "--resume", "auto").stderr
    invoke("train", *SMALL, "--resume", "auto")
    assert Path("checkpoints/mlp-strokes-1").is_dir()


def test_auto_takes_over_a_folder_in_which_nothing_had_begun():
    Path("checkpoints/mine").mkdir(parents=True)
    assert "exists already" in fail("train", *SMALL, "--name", "mine", code=2)
    invoke("train", *SMALL, "--name", "mine", "--resume", "auto")
    assert step_of("mine") == 3 * STEPS


@pytest.mark.parametrize("name", ["best.safetensors", "letter.txt", ".profile", "run"])
def test_auto_never_trains_in_a_folder_that_holds_anything_else(name):
    """A run that another digitnet made, or a person's own folder, is neither overwritten nor removed."""
    Path("checkpoints/mine").mkdir(parents=True)
    kept = Path("checkpoints/mine", name)
    kept.mkdir() if name == "run" else kept.write_bytes(b"mine")
    line = fail("train", *SMALL, "--name", "mine", "--resume", "auto", code=2)
    assert line == "error: checkpoints/mine exists already; choose another --name"
    assert [path.name for path in Path("checkpoints/mine").iterdir()] == [name]


def test_a_folder_in_which_another_process_begins_is_left_to_it():
    folder = Path("checkpoints/mine")
    folder.mkdir(parents=True)
    with locked(folder):
        line = fail("train", *SMALL, "--name", "mine", "--resume", "auto", code=2)
        assert "is being trained by another process" in line
        assert folder.is_dir()


@pytest.mark.parametrize(
    ("options", "more", "said"),
    [
        ((), (), "ask for more by --epochs."),
        (("--steps", "7"), (), "ask for more by --steps."),
        (("--time-budget", "0.001s"), (), "ask for more by --time-budget."),
        (("--until-accuracy", "1%"), ("--epochs", "9"), "ask for more by --until-accuracy."),
        (("--patience", "1", "--learning-rate", "1"), ("--epochs", "99"), "its --patience is at an end"),
    ],
)
def test_a_run_that_has_ended_says_what_it_would_go_on_for(options, more, said):
    begun = [*SMALL]
    if "--steps" in options:
        del begun[begun.index("--epochs") : begun.index("--epochs") + 2]
    if "--patience" in options:
        begun[begun.index("--epochs") + 1] = "90"
    invoke("train", *begun, *options, "--name", "mine")
    done = invoke("train", "--resume", "mine", *more)
    assert done.stderr.startswith("Run checkpoints/mine has ended; ")
    assert said in done.stderr


def test_tensorboard_forgets_the_part_of_an_epoch_that_is_made_whole():
    begun, options = [*SMALL], ("--name", "mine", "--tensorboard")
    begun[begun.index("--epochs") : begun.index("--epochs") + 2] = ["--steps", "7"]
    invoke("train", *begun, *options)
    invoke("train", "--resume", "mine", "--steps", "12", "--tensorboard")
    events = EventAccumulator("checkpoints/mine").Reload()
    assert [event.step for event in events.Scalars("loss/train")] == [5, 10, 12]


def test_more_epochs_and_more_steps():
    invoke("train", *SMALL, "--name", "mine")
    assert "has ended" in invoke("train", "--resume", "mine", "--epochs", "3").stderr
    invoke("train", "--resume", "mine", "--epochs", "5")
    longer = [*SMALL]
    longer[longer.index("--epochs") + 1] = "5"
    invoke("train", *longer, "--name", "longer")
    assert same(weights("mine"), weights("longer"))
    assert "epochs = 5" in Path("checkpoints/mine/config.toml").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--epochs", "2"), "epochs can only grow when a run goes on: it is 3, and 2 is less"),
        (("--steps", "20"), "steps cannot be given: the run counts its length in epochs"),
        (("--batch-size", "21"), "a run goes on as it began: its batch_size is 20, not 21"),
        (("--learning-rate", "0.5"), "its learning_rate is"),
        (("--learning-rate", "auto"), "--learning-rate auto finds a rate for a run that begins"),
        (("--seed", "3"), "its seed is 0, not 3"),
        (("--model", "cnn"), "its network is of kind mlp"),
        (("--preset", "best"), "a run goes on as it began: its"),
        (("--hidden-sizes", "16,16"), "its hidden_sizes is 16, not 16,16"),
        (("--dataset", "mnist"), "its dataset is strokes, not mnist"),
        (("--weight-average", "0.9"), "its weight_average is left out, not 0.9"),
        (("--patience", "2"), "its patience is left out, not 2"),
        (("--name", "other"), "both name the run"),
        (("--save-every", "0"), "--save-every takes a number of steps such as 500, or a duration such as 30s, not '0'"),
        (("--save-every", "often"), "--save-every takes"),
    ],
)
def test_what_contradicts_the_run_is_refused_by_name(stop_at, arguments, said):
    interrupted(stop_at, 3, *SMALL)
    assert said in fail("train", "--resume", "mine", *arguments, code=2)
    assert step_of("mine") == 3


def test_what_does_not_contradict_it_may_be_said_again(stop_at):
    interrupted(stop_at, 3, *SMALL)
    invoke("train", "--resume", "mine", *SMALL, "--seed", "0", "--device", "cpu", "--keep-epochs", "--tensorboard")
    assert [path.name for path in sorted(Path("checkpoints/mine").glob("epoch-*"))] == [
        f"epoch-00{epoch}.safetensors" for epoch in (1, 2, 3)
    ]


@pytest.mark.parametrize("reference", ["gone", "pretrained-cnn", "", "here"])
def test_what_is_no_run_is_refused(reference):
    Path("here").mkdir()
    fail("train", "--resume", reference, code=1)


def test_a_run_goes_on_with_its_own_threads(stop_at, monkeypatch):
    used = []
    with monkeypatch.context() as patch:
        patch.setattr(training.torch, "get_num_threads", lambda: 3)
        interrupted(stop_at, 3, *SMALL)
    monkeypatch.setattr(training.torch, "set_num_threads", used.append)
    invoke("train", "--resume", "mine")
    assert 3 in used


def test_two_processes_do_not_train_in_one_folder(stop_at):
    interrupted(stop_at, 3, *SMALL)
    with locked(Path("checkpoints/mine")):
        assert "is being trained by another process" in fail("train", "--resume", "mine", code=2)
    invoke("train", "--resume", "mine")


def test_what_a_killed_process_left_half_written_is_cleared_away(stop_at):
    interrupted(stop_at, 3, *SMALL)
    remnant = Path("checkpoints/mine/.last.safetensors.abc.part")
    remnant.write_bytes(b"half")
    invoke("train", "--resume", "mine")
    assert not remnant.exists()


def test_a_damaged_state_is_said_and_the_one_before_taken(stop_at):
    interrupted(stop_at, 8, *SMALL)
    newest = find_states(Path("checkpoints/mine"))[-1]
    newest.write_bytes(newest.read_bytes()[:-10])
    done = invoke("train", "--resume", "mine")
    assert str(newest) in done.stderr
    assert "Going on from the state before it, after step 5." in done.stderr


def test_a_full_disk_ends_the_run_with_its_last_state(monkeypatch):
    save, count = training.save_snapshot, iter(range(99))

    def save_twice(folder, snapshot):
        if next(count) == 2:
            raise OSError(28, "No space left on device", str(folder / "state"))
        save(folder, snapshot)

    monkeypatch.setattr(training, "save_snapshot", save_twice)
    done = invoke("train", *SMALL, "--name", "mine", code=1)
    assert done.stderr.splitlines()[-1] == "error: checkpoints/mine/state: No space left on device"
    assert "To go on: digitnet train --resume checkpoints/mine" in done.stderr
    monkeypatch.setattr(training, "save_snapshot", save)
    assert step_of("mine") == STEPS


def test_numbers_that_go_wrong_end_the_run_and_say_what_may_help():
    done = invoke("train", *SMALL, "--optimizer", "sgd", "--learning-rate", "1e30", "--name", "mine", code=1)
    assert re.search(
        r"error: the loss is (nan|inf) by step \d, at a learning rate of 1e\+30; try a lower one", done.stderr
    )
    assert "To go on: digitnet train --resume checkpoints/mine --on-nan rollback" in done.stderr
    done = invoke("train", "--resume", "mine", "--on-nan", "rollback", code=1)
    assert " ".join(done.stderr.split()).count("Going on from step 0, at") == 3
    assert "To go on:" not in done.stderr
    assert "the rate has been halved 3 times" in done.stderr.splitlines()[-1]


# Signals, to a real process.


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_ends_a_real_run(number, code):
    options = (*OPTIONS, "--train-size", "4000", "--batch-size", "4", "--epochs", "500", "--save-every", "10")
    command = [sys.executable, "-m", "digitnet", "train", *options, "--name", "mine"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        wait_for(lambda: Path("checkpoints/mine").is_dir() and len(find_states(Path("checkpoints/mine"))) == 2)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, "")
    assert re.fullmatch(r"error: interrupted after step [\d,]+, and saved", err.splitlines()[-1])
    step = int(re.search(r"after step ([\d,]+)", err)[1].replace(",", ""))
    assert step_of("mine") == step


def wait_for(condition, limit_s=60):
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < limit_s
        time.sleep(0.01)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_before_training_begins_a_signal_ends_all(number, code):
    with interruption.Interruption(), pytest.raises(InterruptedRunError, match=r"^interrupted$") as raised:
        signal.raise_signal(number)
    assert raised.value.exit_code == code


def test_a_second_signal_ends_at_once():
    program = """
import os, signal, time
from digitnet.cli.interruption import Interruption
with Interruption() as it:
    it.poll()
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)  # as timeout does
    assert it.poll() == signal.SIGTERM
    time.sleep(0.4)
    signal.raise_signal(signal.SIGINT)
    time.sleep(60)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=30, check=False)
    said = b"error: ended at once; the state saved last is there to go on from\n"
    assert (done.returncode, done.stderr) == (130, said)


def test_handlers_are_given_back():
    before = signal.getsignal(signal.SIGTERM)
    with interruption.Interruption():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_signal_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as of a command with & in a script
    try:
        with interruption.Interruption() as it:
            it.poll()
            signal.raise_signal(signal.SIGINT)
            assert it.poll() is None
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_signal_has_its_exit_code():
    assert InterruptedRunError("stopped", signal.SIGINT).exit_code == 130


# What is said.


def test_what_was_typed_is_typed_again(stop_at):
    options = ("--keep-epochs", "--tensorboard", "--save-every", "7")
    done = interrupted(stop_at, 3, *SMALL, *options)
    said = "To go on: digitnet train --resume checkpoints/mine --save-every 7 --keep-epochs --tensorboard"
    assert said in done.stderr.splitlines()


def test_a_run_that_has_done_all_is_not_gone_on_with_for_another_goal():
    invoke("train", *SMALL, "--until-accuracy", "1%", "--name", "early")
    assert "Going on with run" in invoke("train", "--resume", "early", "--until-accuracy", "100%").stderr
    one = [*SMALL]
    one[one.index("--epochs") + 1] = "1"
    invoke("train", *one, "--until-accuracy", "1%", "--name", "mine")
    done = invoke("train", "--resume", "mine", "--until-accuracy", "100%")
    assert "Run checkpoints/mine has ended" in done.stderr


def test_a_run_without_a_state_says_how_to_train_it_anew(stop_at):
    interrupted(stop_at, 8, *SMALL)
    for path in find_states(Path("checkpoints/mine")):
        path.write_bytes(b"")
    anew = "to train it anew: digitnet train --config checkpoints/mine/config.toml"
    assert fail("train", "--resume", "mine", code=1).endswith(anew)
    for path in find_states(Path("checkpoints/mine")):
        path.unlink()
    assert fail("train", "--resume", "mine", code=1).endswith(anew)


def test_files_are_called_what_they_are(stop_at, digit_files):
    interrupted(stop_at, 8, *SMALL)
    state = find_states(Path("checkpoints/mine"))[-1]
    assert fail("predict", "--checkpoint", state, digit_files[0], code=1).endswith(
        "is the state of a run; its network is best.safetensors beside it"
    )
    for command in (("train", "--resume"), ("verify",)):
        line = fail(*command, "checkpoints/mine/best.safetensors", code=1)
        assert line.endswith("is a file; name the folder of the run, such as checkpoints/mine")


def test_a_run_in_training_is_not_verified(stop_at):
    interrupted(stop_at, 8, *SMALL)
    with locked(Path("checkpoints/mine")):
        assert "is being trained by another process" in fail("verify", "mine", code=2)
