"""The real command, from end to end: what it makes, says and answers, and how it ends when something is wrong."""

import inspect
import json
import os
import pickle
import re
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from conftest import digitnet_command, run_python, save_png
from safetensors.torch import load_file
from typer.testing import CliRunner

from digitnet import cli
from digitnet.cli import app
from digitnet.cli.train import train
from digitnet.config import CNNConfig, MLPConfig, TrainConfig
from digitnet.data import load
from digitnet.data.strokes import draw_strokes
from digitnet.recipes import build_config
from digitnet.training import new_model

TINY = ("train", "--model", "mlp", "--preset", "fast", "--hidden-sizes", "16", "--dataset", "strokes")
SMALL = (*TINY, "--train-size", "90", "--epochs", "1")


@pytest.fixture(autouse=True)
def few_strokes(monkeypatch):
    """Test on 300 strokes, not on 10,000."""
    monkeypatch.setitem(load.STROKES_SIZES, "test", 300)


def invoke(*arguments, code=0, **options):
    """Run the command in this process; a bug's traceback fails the test."""
    result = CliRunner().invoke(app, [*map(str, arguments)], prog_name="digitnet", catch_exceptions=False, **options)
    assert result.exit_code == code, result.stderr
    return result


def fail(*arguments, code, **options):
    """Run a command that ends with a code and one line on stderr; return the line."""
    result = invoke(*arguments, code=code, **options)
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if not line.startswith("Using ")]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    return lines[0]


def listing(folder="."):
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*"))


RUN_FILES = [".lock", "best.safetensors", "config.toml", "curves.png", "last.safetensors", "metrics.csv"]
STATE = "state-N.safetensors"
RUN_FILES += [STATE, STATE]
UNFINISHED_FILES = [name for name in RUN_FILES if name != "curves.png"]


def files_of(run):
    """List a run folder's files, whatever the steps of its states."""
    return [re.sub(r"^state-\d{6}", "state-N", name) for name in listing(run)]


def test_train_eval_predict_info(digit_files):
    """The main job, through the real command in processes of its own."""
    trained = digitnet_command(*TINY, "--train-size", "900", "--epochs", "2", "--batch-size", 32)
    assert trained.returncode == 0, trained.stderr
    folder = Path("checkpoints/mlp-strokes-1")
    assert files_of(folder) == RUN_FILES
    assert [line.split()[0] for line in trained.stderr.splitlines()] == ["epoch", "1/2", "2/2"]
    assert "strokes: 900 images, and 100 for validation" in trained.stdout
    assert f"digitnet eval --checkpoint {folder}" in trained.stdout
    assert len((folder / "metrics.csv").read_text().splitlines()) == 3

    predicted = digitnet_command("predict", "--json", "-", input="\n".join(map(str, digit_files)))
    assert predicted.returncode == 0, predicted.stderr
    assert predicted.stderr == f"Using run {folder} (trained on strokes).\n"
    document = json.loads(predicted.stdout)
    assert document["trained_on"] == "strokes"
    assert [answer["path"] for answer in document["predictions"]] == [str(path) for path in digit_files]

    evaluation = json.loads(invoke("eval", "--json").stdout)
    assert (evaluation["dataset"], evaluation["trained_on"], evaluation["split"]) == ("strokes", "strokes", "test")
    assert evaluation["count"] == 300
    assert evaluation["accuracy"] > 0.4
    information = json.loads(invoke("info", "--json").stdout)
    assert information["record"]["dataset"] == "strokes"
    assert information["config"]["train"]["train_size"] == 900
    assert "strokes" in invoke("info").stdout
    assert "accuracy" in invoke("eval").stdout


def test_how_sure_it_is_stands_in_eval_and_info(run_folder):
    report = json.loads(invoke("eval", "--checkpoint", run_folder, "--json").stdout)
    assert sum(part["count"] for part in report["reliability"]) == report["count"]
    assert [row["reject_rate"] for row in report["risk_coverage"]][:4] == [0, 0.001, 0.005, 0.01]
    text = invoke("eval", "--checkpoint", run_folder).stdout
    assert f"{report['calibration_error']:.2%} off on average (expected calibration error)" in text
    assert max(map(len, text.splitlines())) <= 80
    calibration = json.loads(invoke("info", run_folder, "--json").stdout)["calibration"]
    assert len(calibration["thresholds"]["rates"]) == len(calibration["thresholds"]["scores"])
    assert (
        f"temperature {calibration['temperature']:.3f}; 1% of its digits score under"
        in invoke("info", run_folder).stdout
    )


# What is wrong is said in one line.


@pytest.mark.parametrize("option", ["--show-completion", "--install-completion"])
def test_completion_is_shown_and_installed(option, monkeypatch):
    monkeypatch.setattr("typer._completion_shared._get_shell_name", lambda: "bash")
    monkeypatch.setattr("typer.completion._get_shell_name", lambda: "bash")
    assert "completion" in invoke(option).stdout


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:73] data. DefaultCPUAllocator: not enough memory: you tried to"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    ],
    ids=repr,
)
def test_what_does_not_fit_into_memory_is_said(monkeypatch, error):
    def build_model(_):
        raise error

    monkeypatch.setattr("digitnet.training.build_model", build_model)
    assert "more memory than there is; a smaller network, batch" in fail(*SMALL, code=1)
    assert not listing("checkpoints")


def test_a_runtime_error_of_another_kind_keeps_its_traceback(monkeypatch):
    def build_model(_):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr("digitnet.training.build_model", build_model)
    with pytest.raises(RuntimeError, match="mat1"):
        invoke(*SMALL)


@pytest.mark.parametrize(
    ("option", "limit"),
    [("--steps", "1000000000"), ("--extra-strokes", "2000000"), ("--nondigits", "2000000")],
)
def test_a_number_beyond_all_machines_is_refused(option, limit):
    assert f"must be at most {limit}, not 1{'0' * 30}" in fail(*TINY, option, f"1{'0' * 30}", code=2)


def test_more_strokes_than_fit_into_memory_are_refused():
    assert "at most 2,000,000 digits can be drawn, not 1,000,000,000" in fail(*TINY, "--train-size", 10**9, code=1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["adapt", "hand", "--steps", "10001"], "'--steps': Input should be less than or equal to 10000; see"),
        (["train", "--lr", "0.1"], "no such option: --lr (it is called --learning-rate); see digitnet train --help"),
        (["train", "--epochs", "1e3"], "'--epochs': a whole number is needed, such as 10; see"),
        (["train", "--momentum", "fast"], "'--momentum': a number is needed, such as 0.1; see"),
        (["train", "--learning-rate", "fast"], "--learning-rate takes a number such as 0.01, or auto, not 'fast'"),
        (["train", "--output", "", "--dataset", "strokes"], "error: --output is given, but empty"),
        (["eval", "--dataset="], "error: --dataset is given, but empty"),
        (["eval", "--report", ""], "error: --report is given, but empty"),
        (["adapt", "hand", "--data-dir", ""], "error: --data-dir is given, but empty"),
        (["eval", "--report"], "requires an argument; see digitnet eval --help"),
        (["train", "--tensorboard=3"], "does not take a value; see digitnet train --help"),
        (["explain", "image", "-"], "explain image reads a file, and no picture from stdin"),
        (["explain", "step", "--output", __file__], "test_cli.py is not a folder; name another one by --output"),
        (["explain", "unit", "--output", __file__], "test_cli.py is not a folder; name another one by --output"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_use_is_said_in_words_of_ours(arguments, said):
    assert said in fail(*arguments, code=2)
    assert listing() == []


WRONG = [
    ["nonsense"],
    ["train", "--nonsense"],
    ["train", "--model", "rnn"],
    ["train", "--epochs", "0"],
    ["train", "--epochs", "many"],
    ["train", "--epochs"],
    ["train", "surplus"],
    ["train", "--seed", "-1"],
    ["train", "--learning-rate", "nan"],
    ["train", "--learning-rate", "-1"],
    ["train", "--hidden-sizes", "a,b"],
    ["train", "--hidden-sizes", "0"],
    ["train", "--until-accuracy", "0"],
    ["train", "--until-accuracy", "101%"],
    ["train", "--time-budget", "soon"],
    ["train", "--momentum", "0.9"],
    ["train", "--steps", "0"],
    ["train", "--steps", "5", "--epochs", "2"],
    ["train", "--extra-strokes", "-1"],
    ["train", "--nondigits", "some"],
    ["train", "--betas", "0.9"],
    ["train", "--betas", "0.9,much"],
    ["train", "--betas", "0.9,1"],
    ["train", "--betas", "0.9,0.99", "--optimizer", "sgd"],
    ["train", "--weight-average", "1"],
    ["train", "--augment", "some"],
    ["train", "--kernel-size", "5,3"],
    ["train", "--kernel-size", "3,3,3,4"],
    ["train", "--kernel-size", "5;3"],
    ["train", "--stride", "1,"],
    ["train", "--channels", "8,8", "--pool-size", "2,0"],
    ["train", "--model", "mlp", "--pool-size", "2,1"],
    ["train", "--label-smoothing", "0.1", "--loss", "mae"],
    ["train", "--loss", "mea"],
    ["train", "--model", "mlp", "--channels", "8"],
    ["train", "--kernel-size", "4"],
    ["train", "--kernel-size", "7", "--padding", "valid", "--channels", "8,8,8"],
    ["train", "--pool", "none", "--pool-size", "2"],
    ["train", "--model", "mlp", "--batch-norm", "--batch-size", "2"],
    ["train", "--device", "mps" if not torch.backends.mps.is_available() else "cuda"],
    ["train", "--config", "gone.toml"],
    [*SMALL, "--name", "a/b"],
    [*SMALL, "--name", "pretrained-cnn"],
    [*SMALL, "--name", ""],
    ["eval", "--split", "dev"],
    ["eval", "--min-accuracy", "most"],
    ["eval", "--min-accuracy", ""],
    ["predict"],
    ["predict", "--json", "--csv", "a.png"],
    ["predict", "--top-k", "0", "a.png"],
    ["predict", "--reject-rate", "some", "a.png"],
    ["predict", "--reject-rate", "", "a.png"],
    ["predict", "--reject-rate", "1", "a.png"],
    ["predict", "--reject-rate", "2", "a.png"],
    ["predict", "--reject-rate", "101%", "a.png"],
    ["predict", "--reject-rate", "-1%", "a.png"],
    ["predict", "--reject-rate", "nan", "a.png"],
    ["predict", "--number", "--top-k", "2", "a.png"],
    ["predict", "--number", "--reject-rate", "2", "a.png"],
    ["info", "a", "b"],
]


@pytest.mark.parametrize("arguments", WRONG, ids=lambda arguments: " ".join(arguments).replace("/", "."))
def test_a_wrong_option_is_one_line_and_code_2(arguments):
    line = fail(*arguments, code=2)
    assert len(line) < 300
    assert not list(Path().iterdir())


def test_a_wrong_value_is_said_with_what_would_be_right():
    assert "block3.conv1 has a 7x7 window and gets" in fail(
        "train", "--kernel-size", 7, "--padding", "valid", "--channels", "8,8,8", code=2
    )
    assert "epochs must be at least 1, not 0" in fail("train", "--epochs", 0, code=2)
    assert "--epochs" in fail("train", "--epochs", "many", code=2)
    assert "digitnet train --help" in fail("train", "--nonsense", code=2)
    assert "numbers with a comma between, such as 0.9,0.999" in fail("train", "--betas", "0.9;0.99", code=2)
    assert "for each of the 4 blocks, not 5,3" in fail("train", "--channels", "2,2,2,2", "--kernel-size", "5,3", code=2)
    assert "epochs and steps are both given" in fail("train", "--steps", 5, "--epochs", 2, code=2)
    assert "0.993 or 99.3%" in fail("eval", "--min-accuracy", "most", code=2)
    assert "a share such as 0.01 or 1%, from 0 to 100%, not '2'" in fail(
        "predict", "--reject-rate", "2", "a.png", code=2
    )


def test_what_was_typed_cannot_steer_the_terminal():
    line = fail("train", "--dataset", "a\x07b\nc\r", code=1)
    assert "a\\x07b\\nc\\r: there is no such data set" in line


MISSING = [
    (["eval", "--checkpoint", "gone"], "no checkpoint at gone"),
    (["info", "gone"], "no checkpoint at gone"),
    (["predict", "--checkpoint", "gone", "a.png"], "no checkpoint at gone"),
    (["train", "--dataset", "gone"], "gone: there is no such data set"),
    (["train", "--dataset", "mnist", "--data-dir", "gone"], "gone: there is no such folder"),
    ([*TINY[:-1], "empty"], "empty: expected sub-folders 0 to 9"),
]


@pytest.mark.parametrize(("arguments", "message"), MISSING, ids=lambda value: value[0] if value else "")
def test_what_is_not_there_is_one_line_and_code_1(arguments, message):
    Path("empty").mkdir()
    assert message in fail(*arguments, code=1)
    assert listing() == ["empty"]


@pytest.mark.parametrize("command", [["eval"], ["predict", "a.png"]], ids=["eval", "predict"])
def test_a_pickle_is_refused_by_every_command(command):
    Path("model.pt").write_bytes(pickle.dumps({}))
    assert "is a pickle" in fail(*command, "--checkpoint", "model.pt", code=1)


def test_an_accuracy_that_is_missed_is_code_4_after_the_results(run_folder):
    result = invoke("eval", "--checkpoint", run_folder, "--min-accuracy", "100%", "--json", code=4)
    assert json.loads(result.stdout)["accuracy"] < 1
    assert "--min-accuracy asks for 100.00%" in result.stderr.splitlines()[-1]
    invoke("eval", "--checkpoint", run_folder, "--min-accuracy", "1%")


# Runs.


def tensors(folder):
    return load_file(folder / "best.safetensors")


def assert_same(a, b):
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_the_same_seed_gives_the_same_weights_bit_for_bit():
    options = ["train", "--preset", "fast", "--channels", "4", "--dataset", "strokes", "--train-size", 300]
    options += ["--epochs", 2, "--augment", "elastic", "--dropout", 0.2]
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        invoke(*options, "--seed", seed, "--name", name)
    runs = Path("checkpoints")
    assert_same(tensors(runs / "a"), tensors(runs / "b"))
    assert not torch.equal(tensors(runs / "a")["head.output.weight"], tensors(runs / "c")["head.output.weight"])
    invoke("train", "--config", runs / "a" / "config.toml", "--name", "d")
    assert_same(tensors(runs / "a"), tensors(runs / "d"))
    assert (runs / "a" / "config.toml").read_text() == (runs / "d" / "config.toml").read_text()


def test_the_first_weights_follow_from_the_seed():
    configs = [build_config(preset="fast", overrides={"seed": seed, "channels": (4,)}) for seed in (5, 5, 6)]
    a, b, c = (new_model(config, load.load_digits("strokes", "train", size=10)).state_dict() for config in configs)
    assert_same(a, b)
    assert not torch.equal(a["head.output.weight"], c["head.output.weight"])


def test_a_run_never_overwrites_another():
    invoke(*SMALL)
    invoke(*SMALL, "--seed", 1)
    invoke(*SMALL, "--name", "mine")
    before = {path: path.read_bytes() for path in Path("checkpoints").rglob("*") if path.is_file()}
    assert "mine exists already; choose another --name" in fail(*SMALL, "--name", "mine", code=2)
    assert {path: path.read_bytes() for path in Path("checkpoints").rglob("*") if path.is_file()} == before
    assert sorted({path.parent.name for path in before}) == ["mine", "mlp-strokes-1", "mlp-strokes-2"]


def test_the_summary_can_be_json():
    report = json.loads(invoke(*SMALL, "--json", "--output", "elsewhere").stdout)
    assert report["checkpoint"] == "elsewhere/mlp-strokes-1/best.safetensors"
    assert report["record"]["dataset"] == report["config"]["train"]["dataset"] == "strokes"
    assert (report["epochs_run"], report["stop"]) == (1, "epochs")


def test_plain_training_without_mnist_falls_back_to_strokes_and_says_so():
    result = invoke("train", *SMALL[1:-6], *SMALL[-4:], "--json")
    assert "mnist" not in SMALL[1:-6]
    assert "MNIST is not on this machine and cannot be downloaded" in result.stderr
    assert "connect this machine to a network" in result.stderr
    assert "--data-dir DIR or DIGITNET_DATA_DIR" in result.stderr
    assert "Training on strokes instead" in result.stderr
    report = json.loads(result.stdout)
    assert report["record"]["dataset"] == report["config"]["train"]["dataset"] == "strokes"
    assert listing("checkpoints")[0] == "mlp-strokes-1"


def test_mnist_asked_for_by_name_fails_with_the_same_advice():
    line = fail(*SMALL[:-6], "--dataset", "mnist", *SMALL[-4:], code=1)
    assert "MNIST is not on this machine" in line
    assert "--data-dir DIR or DIGITNET_DATA_DIR" in line
    assert not Path("checkpoints").exists()


def test_a_folder_of_ones_own_is_trained_and_evaluated_on():
    images, targets = draw_strokes(60, seed=3)
    for place, (image, target) in enumerate(zip(images, targets.tolist(), strict=True)):
        save_png(Path("mine") / str(target) / f"{place}.png", image[0])
    invoke(*SMALL[:-6], "--dataset", "mine", "--epochs", 1)
    assert listing("checkpoints")[0] == "mlp-mine-1"
    result = invoke("eval", "--json")
    report = json.loads(result.stdout)
    assert (report["dataset"], report["split"], report["count"]) == ("mine", "validation", 6)  # the rest trained it
    assert "trained this network" in result.stderr
    report = json.loads(invoke("eval", "--json", "--dataset", "strokes").stdout)
    assert (report["dataset"], report["trained_on"], report["count"]) == ("strokes", "mine", 300)

    save_png(Path("mine/0/another.png"), images[0][0])  # the split follows from the number of pictures
    for split in ([], ["--split", "validation"], ["--split", "train"]):
        assert "mine is not as it was when it trained this network" in invoke("eval", *split, code=1).stderr
    images, targets = draw_strokes(20, seed=4)
    for place, (image, target) in enumerate(zip(images, targets.tolist(), strict=True)):
        save_png(Path("mine/test") / str(target) / f"{place}.png", image[0])
    assert json.loads(invoke("eval", "--json").stdout)["count"] == 20


def test_eval_counts_as_training_images_only_those_that_trained(run_folder):
    report = json.loads(invoke("eval", "--checkpoint", run_folder, "--split", "train", "--json").stdout)
    assert (report["split"], report["count"]) == ("train", 900)


# What goes wrong on the way leaves nothing half-written.


def command_after(preparation, *arguments):
    """Put together a command line that prepares its process and then is digitnet."""
    code = f"import signal; {preparation}; from digitnet.cli import main; main()"
    return ["-c", code, *map(str, arguments)]


@pytest.mark.skipif(os.name != "posix", reason="POSIX limits")
def test_a_full_disk_is_one_line_and_leaves_no_run():
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))"
    done = run_python(*command_after(limit, *SMALL, "--output", "runs"))
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: runs/mlp-strokes-1/")  # it says where
    assert listing() == ["runs"]


def test_a_disk_that_fills_up_later_keeps_the_best_so_far(monkeypatch):
    from digitnet import training

    calls = []
    save = training.save_checkpoint

    def save_once(path, *others):
        calls.append(path)
        if len(calls) > 2:
            raise OSError(28, "No space left on device", str(path))
        save(path, *others)

    monkeypatch.setattr(training, "save_checkpoint", save_once)
    result = invoke(*SMALL, "--epochs", 3, code=1)
    assert result.stdout == ""
    assert "The best network so far is checkpoints/mlp-strokes-1/best.safetensors" in result.stderr
    assert result.stderr.splitlines()[-1].endswith("No space left on device")
    assert files_of("checkpoints/mlp-strokes-1") == UNFINISHED_FILES
    invoke("info", "checkpoints/mlp-strokes-1")


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/runs"])
def test_a_place_that_cannot_be_written_is_one_line(place):
    Path("file").touch()
    assert Path(place).parts[0] in fail(*SMALL, "--output", place, code=1)
    assert listing() == ["file"]


# A shell that starts tests in the background makes what they start deaf to the signal.
LISTEN = "signal.signal(signal.SIGINT, signal.default_int_handler)"


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
def test_interrupted_after_an_epoch_it_keeps_the_best_network():
    options = ["--model", "mlp", "--dataset", "strokes", "--train-size", 90, "--epochs", 100_000]
    command = [sys.executable, *command_after(LISTEN, "train", *options)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    run = Path("checkpoints/mlp-strokes-1")
    assert process.stderr.readline().startswith("epoch")
    assert process.stderr.readline().startswith("1/100000")
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert re.fullmatch(r"error: interrupted after step [\d,]+, and saved", said.splitlines()[-1])
    assert "Traceback" not in said
    assert files_of(run) == UNFINISHED_FILES
    assert f"The best network so far is {run / 'best.safetensors'}" in said
    invoke("info", run)


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
def test_interrupted_before_training_began_it_leaves_nothing():
    raise_it = "lambda *_: signal.raise_signal(signal.SIGINT)"
    preparation = f"{LISTEN}; import digitnet.training; digitnet.training.new_model = {raise_it}"
    done = run_python(*command_after(preparation, *SMALL))
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "error: interrupted\n")
    assert listing() == ["checkpoints"]


# Options and settings.

OPTIONS_OF_THE_COMMAND = {
    "ctx", "model", "preset", "config", "data_dir", "output", "name", "keep_epochs", "tensorboard", "json_",
    "resume", "save_every",
}  # fmt: skip


def test_every_option_is_a_setting_and_every_setting_an_option():
    options = set(inspect.signature(train).parameters) - OPTIONS_OF_THE_COMMAND
    settings = {field.name for config in (MLPConfig, CNNConfig, TrainConfig) for field in fields(config)}
    assert {name.replace("time_budget", "time_budget_s") for name in options} == settings


def test_every_option_reaches_the_configuration():
    options = {
        "dataset": "strokes", "train-size": 90, "augment": "affine", "hidden-sizes": "8,4", "channels": "3,2",
        "convs-per-block": 2, "kernel-size": 5, "stride": 2, "padding": "same", "pool": "avg", "pool-size": 3,
        "pool-stride": 1, "activation": "silu", "dropout": 0.25, "loss": "bce", "label-smoothing": 0.01,
        "optimizer": "sgd", "learning-rate": 0.03, "momentum": 0.7, "weight-decay": 0.001, "schedule": "cosine",
        "warmup": 0.1, "batch-size": 45, "epochs": 1, "patience": 4, "until-accuracy": "99.5%", "time-budget": "1m30s",
        "seed": 12, "device": "cpu", "precision": "fp32", "weight-average": 0.75, "extra-strokes": 20, "nondigits": 15,
        "max-grad-norm": 2.5, "on-nan": "rollback",
    }  # fmt: skip
    flags = ["--no-batch-norm", "--no-nesterov", "--deterministic"]
    typed = [text for name, value in options.items() for text in (f"--{name}", value)]
    config = json.loads(invoke("train", *typed, *flags, "--json").stdout)["config"]
    found = config["model"] | config["train"]
    expected = {name.replace("-", "_"): value for name, value in options.items()} | {
        "kind": "cnn", "hidden_sizes": [8, 4], "channels": [3, 2], "until_accuracy": 0.995, "time_budget_s": 90.0,
        "batch_norm": False, "nesterov": False, "deterministic": True,
    }  # fmt: skip
    del expected["time_budget"]
    assert found == expected


def test_options_for_each_block_and_those_beside_epochs_and_sgd_reach_it_too():
    options = {
        "dataset": "strokes", "train-size": 90, "channels": "2,3", "kernel-size": "5,3", "stride": "1,2",
        "pool-size": "1,2", "pool-stride": "1,3", "optimizer": "adam", "betas": "0.8,0.95", "weight-average": 0.9,
        "steps": 3, "augment": "all", "batch-size": 45, "device": "cpu",
    }  # fmt: skip
    typed = [text for name, value in options.items() for text in (f"--{name}", value)]
    report = json.loads(invoke("train", *typed, "--json").stdout)
    found = report["config"]["model"] | report["config"]["train"]
    expected = {name.replace("-", "_"): value for name, value in options.items()} | {
        "channels": [2, 3], "kernel_size": [5, 3], "stride": [1, 2], "pool_size": [1, 2], "pool_stride": [1, 3],
        "betas": [0.8, 0.95],
    }  # fmt: skip
    assert expected.items() <= found.items()
    assert "epochs" not in found
    assert (report["epochs_run"], report["stop"]) == (2, "epochs")  # of 2 steps each, and the second cut
    invoke("info", "checkpoints/cnn-strokes-1")


def test_drawings_are_trained_on_beside_the_digits():
    drawings = {"strokes": ["--extra-strokes", 60], "nondigits": ["--nondigits", 40]}
    for name, typed in {"neither": [], **drawings, "both": [*drawings["strokes"], *drawings["nondigits"]]}.items():
        report = json.loads(invoke(*SMALL, "--json", "--batch-size", 30, "--name", name, *typed).stdout)
        assert report["record"]["train_size"] == 90  # what is drawn beside them is not of the data set
        assert report["record"]["step"] == (5 if "--extra-strokes" in typed else 3)
        found = (report["config"]["train"].get(setting) for setting in ("extra_strokes", "nondigits"))
        assert tuple(found) == (60 if "--extra-strokes" in typed else 0, 40 if "--nondigits" in typed else 0)
    weights = [tensors(Path("checkpoints") / name)["head.output.weight"] for name in ("neither", *drawings, "both")]
    assert all(not torch.equal(a, b) for n, a in enumerate(weights) for b in weights[:n])
    invoke("train", "--config", "checkpoints/both/config.toml", "--name", "again")
    assert_same(tensors(Path("checkpoints/both")), tensors(Path("checkpoints/again")))
    assert json.loads(invoke("eval", "--json", "--checkpoint", "checkpoints/both").stdout)["count"] == 300


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["--channels", "8,16", "--steps", 2], {"channels": [8, 16], "kernel_size": 3, "pool_size": 2, "steps": 2}),
        (["--epochs", 2], {"channels": [16, 32, 64], "kernel_size": [5, 3, 3], "epochs": 2}),
        (["--pool", "avg", "--steps", 1], {"pool": "avg", "pool_size": [1, 2, 1], "steps": 1}),
    ],
    ids=["channels", "epochs", "pool"],
)
def test_a_preset_gives_way_to_what_is_typed(typed, expected):
    train_it = ["train", "--preset", "fast", "--dataset", "strokes", "--train-size", 90, "--device", "cpu"]
    config = json.loads(invoke(*train_it, *typed, "--json").stdout)["config"]
    found = config["model"] | config["train"]
    assert expected.items() <= found.items()
    assert ("steps" in found) != ("epochs" in found)


def test_with_no_run_here_the_network_that_ships_is_used(digit_files):
    result = invoke("predict", "--jsonl", digit_files[0])
    assert result.stderr.startswith("Using pretrained-cnn, which ships with digitnet (trained on ")
    assert json.loads(result.stdout)["digit"] == int(digit_files[0].stem[-1])


def test_the_version_and_the_help():
    assert invoke("--version").stdout.startswith("digitnet 0.")
    for command in ("train", "eval", "predict", "info"):
        assert f"Usage: digitnet {command} " in invoke(command, "-h").stdout


def test_ctrl_c_before_a_command_begins_is_one_line(monkeypatch, capsys):
    def interrupt(**_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "app", interrupt)
    monkeypatch.setattr("gc.set_threshold", lambda _: None)  # which is for a process of its own
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 130
    assert capsys.readouterr().err == "error: interrupted\n"
