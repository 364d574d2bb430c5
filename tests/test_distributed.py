"""Processes that are launched together: they meet, or all end with one line; and one that is killed is made up for."""

import os
import re
import shlex
import signal
import socket
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from launching import end, free_port, launch, start, torchrun, workers
from safetensors.torch import load_file
from test_cli import fail, invoke
from torch.distributed import HashStore

from digitnet import distributed, meeting
from digitnet.data.once import once
from digitnet.distributed import ALONE, World, joined
from digitnet.errors import DataError, LaunchError, UsageError
from digitnet.launch import Launch, read_launch

TRAIN = ("train", "--dataset", "strokes", "--model", "mlp", "--preset", "fast", "--hidden-sizes", "16")
SMALL = (*TRAIN, "--train-size", "90", "--batch-size", "20", "--epochs", "2")
ALONE_IN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@pytest.fixture
def told(monkeypatch):
    """Tell this process of a launch."""
    return lambda **names: [monkeypatch.setenv(name, str(value)) for name, value in names.items()]


def digitnet(size, *arguments, each=None):
    return launch(size, "-m", "digitnet", *arguments, each=each)


def one_line(done, pattern, code=1):
    """Check that all processes ended with this code, and that the first alone said why, in one line."""
    assert [process.returncode for process in done] == [code] * len(done)
    first, *others = [process.stderr for process in done]
    assert re.fullmatch(f"error: .*{pattern}.*\n", first), first
    assert others == [""] * len(others)
    assert all(process.stdout == "" for process in done)


# What a launcher says.


def test_without_a_launcher_a_process_is_alone():
    assert read_launch() == Launch()
    assert read_launch().is_first
    assert ALONE.gather(3) == [3]
    assert ALONE.broadcast("x") == "x"
    assert ALONE.sum_(torch.ones(2)).tolist() == [1, 1]
    tickets = ALONE.tickets("x")
    assert [next(tickets) for _ in range(3)] == [0, 1, 2]
    ALONE.agree({"a": 1}, "options")
    with pytest.raises(LaunchError, match=r"^broken$"):
        ALONE.agree({}, "options", fault="broken")
    with joined({}) as world:
        assert world == ALONE


def test_what_torchrun_says_is_read(told):
    told(RANK=5, WORLD_SIZE=8, LOCAL_RANK=1, LOCAL_WORLD_SIZE=4, MASTER_ADDR="there", MASTER_PORT=29500)
    told(TORCHELASTIC_RESTART_COUNT=2, TORCHELASTIC_MAX_RESTARTS=3, TORCHELASTIC_USE_AGENT_STORE="True")
    expected = {"rank": 5, "size": 8, "local_rank": 1, "local_size": 4, "host": "there", "port": 29500}
    assert read_launch() == Launch(**expected, restarts=2, starts_anew=True, launcher_serves=True)
    assert not read_launch().is_first


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE in the environment is to be a whole number, not 'two'"),
        ({"WORLD_SIZE": "-1"}, "a whole number, not '-1'"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK 2 and WORLD_SIZE 2 in the environment do not go together"),
        ({"RANK": "0"}, "RANK is set in the environment, and WORLD_SIZE is not"),
        ({"RANK": "0", "WORLD_SIZE": "0"}, "RANK 0 and WORLD_SIZE 0"),
        ({"WORLD_SIZE": "2"}, "MASTER_ADDR and MASTER_PORT do not say where"),
        ({"WORLD_SIZE": "2", "MASTER_ADDR": "x", "MASTER_PORT": "70000"}, "MASTER_ADDR and MASTER_PORT do not say"),
    ],
)
def test_what_makes_no_sense_is_refused(told, names, message):
    told(**names)
    with pytest.raises(UsageError, match=re.escape(message)):
        read_launch()
    assert fail(*SMALL, code=2).startswith("error: ")


def test_a_launch_of_one_process_is_as_none(told):
    told(RANK=0, WORLD_SIZE=1)
    assert "mlp" in invoke(*SMALL).stdout


# Wrong launches.


def test_what_is_wrong_in_all_of_them_is_said_once():
    one_line(digitnet(2, "train", "--bogus"), "no such option: --bogus.*", 2)


def test_what_is_wrong_in_one_of_them_ends_all():
    done = digitnet(3, *SMALL, each=lambda rank: ["--bogus"] if rank == 2 else [])
    assert [process.returncode for process in done] == [1, 1, 2]
    assert re.fullmatch(r"error: process 2 of 3: no such option: --bogus.*\n", done[0].stderr)
    assert [process.stderr for process in done[1:]] == ["", ""]


def test_options_that_differ_are_named():
    done = digitnet(2, *TRAIN, each=lambda rank: ["--batch-size", str(20 + rank)])
    one_line(done, "different options: batch_size is '20' in the first, '21' in process 1 of 2")


def test_data_that_differ_are_named(tmp_path):
    script = tmp_path / "load.py"
    script.write_text("""
import sys
from dataclasses import replace
from digitnet.cli import main
from digitnet.data import load
from digitnet.launch import read_launch

whole = load.load_training
def changed(*a, **k):  # each process is a machine of its own here
    train, validation = whole(*a, **k)
    return replace(train, fingerprint=f"of {read_launch().rank}"), validation

load.load_training = changed
main()
""")
    port = free_port()
    done = [start(r, 2, port, script, *SMALL, LOCAL_RANK=0, LOCAL_WORLD_SIZE=1) for r in range(2)]
    one_line([end(process) for process in done], "different data: fingerprint is 'of 0' in the first, 'of 1' in proc.*")


def test_a_name_that_is_none_is_said_once():
    one_line(digitnet(2, *SMALL, "--name", "a/b"), "'a/b' is no name for a run.*", 2)


def test_data_that_are_missing_are_said_once():
    one_line(digitnet(2, "train", "--dataset", "nowhere"), "nowhere: there is no such data set.*")


def test_a_port_that_is_taken_is_said_by_the_first():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = end(start(0, 2, port, "-m", "digitnet", *SMALL))
    one_line([done], f"the first process cannot listen at 127.0.0.1:{port}; choose another MASTER_PORT .*")


def test_who_does_not_come_is_named(told, monkeypatch):
    monkeypatch.setattr(meeting, "MEETING", timedelta(seconds=1))
    port = free_port()
    told(RANK=0, WORLD_SIZE=3, MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    message = rf"waited 1 s at 127.0.0.1:{port} for process 1, 2 of 3 \(counted from 0\), in vain"
    with pytest.raises(LaunchError, match=message), joined({}):
        pass


def test_a_process_that_nobody_answers_ends(told, monkeypatch):
    monkeypatch.setattr(meeting, "MEETING", timedelta(seconds=1))
    told(RANK=1, WORLD_SIZE=2, MASTER_ADDR="127.0.0.1", MASTER_PORT=free_port())
    with pytest.raises(LaunchError, match="nobody answered"), joined({}):
        pass


def test_a_process_that_finds_nobody_says_so_itself(tmp_path):
    script = tmp_path / "short.py"
    script.write_text("""
from datetime import timedelta
from digitnet import meeting
from digitnet.cli import main

meeting.MEETING = timedelta(seconds=1)
main()
""")
    port = free_port()
    done = end(start(1, 2, port, script, *SMALL))
    one_line([done], f"in 1 s, nobody answered at 127.0.0.1:{port}, where the processes of this launch were to meet.*")


@pytest.mark.parametrize(
    ("device", "gloo", "message"),
    [
        ("mps", True, "several processes cannot share their work on mps"),
        ("cuda", True, "2 processes were started on this machine, which has 1 GPUs"),
        ("cpu", False, "built without gloo"),
    ],
)
def test_a_device_without_a_backend_is_refused(monkeypatch, device, gloo, message):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.distributed.is_nccl_available", lambda: True)
    monkeypatch.setattr("torch.distributed.is_gloo_available", lambda: gloo)
    fault = distributed._fault_of(device, Launch(size=2, local_size=2))
    assert message in fault


def test_without_nccl_gpus_are_refused(monkeypatch):
    monkeypatch.setattr("torch.distributed.is_nccl_available", lambda: False)
    assert "built without nccl" in distributed._fault_of("cuda", Launch(size=2))
    assert distributed._fault_of("cpu", Launch(size=2)) is None


def test_commands_whose_work_cannot_be_shared_say_so():
    one_line(digitnet(2, "eval"), "eval runs in one process; start it without the launcher", 2)


def test_batches_that_are_too_small_for_all_are_refused():
    done = digitnet(2, *TRAIN, "--batch-norm", "--batch-size", "3", "--train-size", "9")
    assert [process.returncode for process in done] == [1, 1]
    assert "a batch of 3 images is too small for 2 processes: each needs at least 2, for batch norm" in done[0].stderr
    assert done[1].stderr == ""


@pytest.mark.parametrize("fault", [DataError("no such set"), OSError("the disk is full")])
def test_a_set_that_cannot_be_made_is_said_by_all_and_leaves_nothing(tmp_path, monkeypatch, fault):
    class Two(World):
        def gather(self, value):
            return [value, 1 if value == 0 else value]  # the second process of this machine

    def make():
        raise fault

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(LaunchError, match=str(fault)):
        once(Two(launch=Launch(size=2), store=HashStore()), make)
    assert not list(tmp_path.iterdir())


# Under torchrun.


def wait_for(pattern, launcher):
    while not list(Path().glob(pattern)):
        assert launcher.poll() is None, end(launcher).stderr
        time.sleep(0.02)


IN_PROC = pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
LONG = (*TRAIN, "--train-size", "900", "--batch-size", "20", "--epochs", "6", "--batch-norm", "--dropout", "0.2")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The weights of a run that was left in peace."""
    place = tmp_path_factory.mktemp("undisturbed")
    done = end(torchrun(2, "digitnet", *LONG, "--output", place, "--name", "left", "--save-every", "50"))
    assert done.returncode == 0, done.stderr
    return load_file(place / "left" / "last.safetensors")


def same_as(undisturbed):
    mine = load_file("checkpoints/killed/last.safetensors")
    return all(torch.equal(mine[name], undisturbed[name]) for name in undisturbed)


@IN_PROC
def test_a_process_that_is_killed_is_started_anew_and_nothing_is_lost(undisturbed):
    """The first one, which saves. The network is the same, to the bit, as of a run that was left in peace."""
    launcher = torchrun(2, "digitnet", *LONG, "--name", "killed", "--save-every", "50", options=["--max-restarts", "1"])
    wait_for("checkpoints/killed/state-000[1-9]*", launcher)
    os.kill(workers(launcher, 2)[0], signal.SIGKILL)
    done = end(launcher)
    assert done.returncode == 0, done.stderr
    assert "Going on with run checkpoints/killed after step" in done.stderr
    assert [path.name for path in Path("checkpoints").iterdir()] == ["killed"]
    assert same_as(undisturbed)


@IN_PROC
def test_machines_count_restarts_each_for_itself_and_their_processes_meet_all_the_same(undisturbed):
    where = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{free_port()}", "--rdzv-id", "mine"]
    options = ["--nnodes", "2", "--max-restarts", "1", *where]
    machines = [
        torchrun(1, "digitnet", *LONG, "--name", "killed", "--save-every", "50", options=options) for _ in range(2)
    ]
    wait_for("checkpoints/killed/state-000[1-9]*", machines[0])
    by_rank = {rank: pid for machine in machines for rank, pid in workers(machine, 1).items()}
    os.kill(by_rank[1], signal.SIGKILL)
    done = [end(machine) for machine in machines]
    assert [machine.returncode for machine in done] == [0, 0], [machine.stderr for machine in done]
    assert same_as(undisturbed)


def test_torchrun_shows_the_reason_at_the_end():
    done = end(torchrun(2, "digitnet", *SMALL, "--name", "a/b"))
    assert done.returncode == 1
    assert done.stderr.count("error: 'a/b' is no name for a run") == 1
    assert done.stderr.partition("Root Cause")[2].count("traceback : 'a/b' is no name for a run") == 1


def test_another_command_of_the_same_launch_begins_a_run_of_its_own():
    command = shlex.join([sys.executable, "-m", "digitnet", *SMALL])
    script = f"{command} --name first && {command} --name second"
    done = end(torchrun(2, "-c", script, program="bash"))
    assert done.returncode == 0, done.stderr
    assert {path.name for path in Path("checkpoints").iterdir()} == {"first", "second"}


def test_a_run_that_is_asked_to_stop_is_gone_on_with_by_another_number_of_processes():
    launcher = torchrun(2, "digitnet", *LONG, "--name", "mine")
    wait_for("checkpoints/mine/state-000[1-9]*", launcher)
    launcher.send_signal(signal.SIGTERM)
    done = end(launcher)
    assert re.search(r"^error: interrupted after step [0-9]+, and saved$", done.stderr, re.MULTILINE), done.stderr
    assert done.stderr.count("error: interrupted") == 1
    after = int(re.search(r"after step ([0-9]+)", done.stderr)[1])
    gone_on = invoke("train", "--resume", "mine")
    assert f"after step {after}" in gone_on.stderr
    assert "epoch 6 of 6" in gone_on.stdout
    checked = invoke("verify", "mine", code=1)
    assert "2 processes, as it began" in checked.stdout
