"""Run folders never overwrite each other, and the checkpoint that is meant is found."""

import csv
import math
import os
import tomllib
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import example, given
from hypothesis import strategies as st

from digitnet.config import MAX_SIZE, CNNConfig, MLPConfig, RunConfig, TrainConfig
from digitnet.errors import CheckpointError, UsageError
from digitnet.recipes import PRESETS, build_config
from digitnet.runs import (
    create_run_folder,
    epoch_name,
    find_checkpoint,
    find_epochs,
    locked,
    read_config,
    write_config,
    write_metrics,
)


def test_runs_are_numbered_from_the_first_free_number(tmp_path):
    made = [create_run_folder(tmp_path / "runs", None, "cnn-mnist").name for _ in range(3)]
    assert made == ["cnn-mnist-1", "cnn-mnist-2", "cnn-mnist-3"]
    (tmp_path / "runs" / "cnn-mnist-2").rmdir()
    assert create_run_folder(tmp_path / "runs", None, "cnn-mnist").name == "cnn-mnist-2"
    assert create_run_folder(tmp_path / "runs", None, "mlp-mnist").name == "mlp-mnist-1"


def test_a_name_is_taken_once(tmp_path):
    folder = create_run_folder(tmp_path, "mine", "cnn-mnist")
    assert folder == tmp_path / "mine"
    (folder / "best.safetensors").write_bytes(b"precious")
    with pytest.raises(UsageError, match="mine exists already; choose another --name"):
        create_run_folder(tmp_path, "mine", "cnn-mnist")
    assert (folder / "best.safetensors").read_bytes() == b"precious"


@pytest.mark.parametrize(
    "name", ["a/b", "/tmp/a", "../a", ".", "..", "", "a/", "auto", "pretrained-cnn", "pretrained-mlp"]
)
def test_what_is_no_name_for_a_folder_is_refused(tmp_path, name):
    with pytest.raises(UsageError):
        create_run_folder(tmp_path / "runs", name, "cnn-mnist")
    assert not list(tmp_path.rglob("*"))


@pytest.mark.timeout(10)
@pytest.mark.parametrize("name", [None, "mine"])
@pytest.mark.parametrize("kind", ["file", "below a file", "dangling link"])
def test_a_place_where_no_folder_can_be_made_is_an_error(tmp_path, name, kind):
    output = tmp_path / "runs"
    if kind == "dangling link":
        output.symlink_to(tmp_path / "gone")
    else:
        output.touch()
    with pytest.raises(OSError, match="runs"):
        create_run_folder(output / "deeper" if kind == "below a file" else output, name, "cnn-mnist")


@pytest.mark.parametrize("kind", PRESETS)
@pytest.mark.parametrize("preset", PRESETS["cnn"])
def test_the_configuration_of_every_preset_comes_back(tmp_path, kind, preset):
    config = build_config(kind=kind, preset=preset, overrides={})
    write_config(tmp_path, config)
    assert read_config(tmp_path / "config.toml") == config


NAMES = st.text(st.characters(exclude_categories=("Cs",)))  # no halves of characters: those are no text


@given(NAMES)
@example('a "quoted" \\ back\\slash')
@example("handschrift-äöü-手書き")
@example("\U0001f600")
@example("deleted\x7f")
@example("\x00\x01\b\t\n\x0b\f\r\x1b\x80\u2028")
def test_a_data_set_of_any_name_comes_back(tmp_path_factory, name):
    folder = tmp_path_factory.getbasetemp()
    config = build_config(kind="mlp", preset="fast", overrides={"dataset": name})
    write_config(folder, config)
    assert read_config(folder / "config.toml") == config


@given(
    learning_rate=st.floats(0, exclude_min=True, allow_infinity=False, allow_nan=False),
    dropout=st.floats(0, 1, exclude_max=True),
    seed=st.integers(0, 2**63 - 1),
    sizes=st.lists(st.integers(1, MAX_SIZE), min_size=1, max_size=5),
    nesterov=st.booleans(),
)
def test_numbers_come_back_exactly(tmp_path_factory, learning_rate, dropout, seed, sizes, nesterov):
    train = TrainConfig(
        epochs=3, optimizer="sgd", momentum=0.9, nesterov=nesterov, learning_rate=learning_rate, seed=seed, patience=3
    )
    config = RunConfig(model=MLPConfig(hidden_sizes=tuple(sizes), dropout=dropout), train=train)
    folder = tmp_path_factory.getbasetemp()
    write_config(folder, config)
    assert read_config(folder / "config.toml") == config


@pytest.mark.parametrize("pool_size", [2, (1, 2)])
def test_numbers_for_each_block_come_back(tmp_path, pool_size):
    model = CNNConfig(channels=(4, 8), kernel_size=(5, 3), stride=(1, 2), pool_size=pool_size, pool_stride=pool_size)
    config = RunConfig(model=model, train=TrainConfig(steps=7, betas=(0.7, 0.95), weight_average=0.99))
    write_config(tmp_path, config)
    assert read_config(tmp_path / "config.toml") == config
    written = tomllib.loads((tmp_path / "config.toml").read_text())
    assert (written["model"]["kernel_size"], written["train"]["betas"]) == ([5, 3], [0.7, 0.95])
    assert "epochs" not in written["train"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[model", "config.toml: "),
        ("", r"config.toml: the table \[model\] is missing"),
        ("\udcff", "config.toml: "),
        ('[model]\nkind = "mlp"\n[train]\nepochs = 0', "config.toml: epochs must be at least 1, not 0"),
        ('[model]\nkind = "mlp"\n[train]\nepoch = 3', "config.toml: epoch is not a setting of Train"),
        ('[model]\nkind = "mlp"\n[train]\nepochs = true', "config.toml: epochs must be a whole number, not True"),
        ('[model]\nkind = "mlp"\n[train]\n[more]', r"config.toml: unknown table \[more\]"),
        (
            '[model]\nkind = "mlp"\n[train]\nseed = 1',
            "config.toml: how long to train is not said: give epochs or steps",
        ),
        (
            '[model]\nkind = "mlp"\n[train]\nepochs = 1\nsteps = 1',
            "config.toml: epochs and steps are both given; leave one of them out",
        ),
        ('[model]\nkind = "mlp"\n[train]\nsteps = 1\nbetas = 0.9', "config.toml: betas must be a list of numbers"),
    ],
)
def test_a_configuration_that_describes_no_run_is_refused(tmp_path, text, message):
    (tmp_path / "config.toml").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UsageError, match=message):
        read_config(tmp_path / "config.toml")


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a." * 500_000 + "a = 1", "is no configuration file: it is larger than 16,000 bytes"),
        (".".join("a" * 7_999) + "=1", r"the table \[model\] is missing"),  # a second, where a megabyte takes hours
        ("a = " + "[" * 10_000, "recursion"),
        ('[model]\nkind = "mlp"\n[train]\nepochs = 0x' + "f" * 9_000, "not a number of 36,000 bits"),
        ('[model]\nkind = "mlp"\n[train]\nepochs = ' + "9" * 9_000, r"4300 digits"),
        ('[model]\nkind = "mlp"\n[train]\nepochs = 1000000001', "epochs must be at most 1000000000, not 1000000001"),
        ('[model]\nkind = "mlp"\n[train]\nepochs = 1\nextra_strokes = 2000001', "must be at most 2000000"),
        ('[model]\nkind = "mlp"\n[train]\nepochs = 1\nnondigits = 2000001', "must be at most 2000000"),
        ('[model]\nkind = "cnn"\nstride = 29\n[train]\nepochs = 1', "stride must be at most 28, not 29"),
        ('[model]\nkind = "' + "x" * 9_000 + '"\n[train]', "kind must be one of"),
        ('["' + "x" * 9_000 + '"]\n[model]\n[train]', r"unknown table \[xxx"),
    ],
    ids=["long", "dots", "deep", "hexadecimal", "digits", "epochs", "strokes", "nondigits", "stride", "text", "table"],
)
def test_a_configuration_beyond_all_measure_is_refused_in_a_line(tmp_path, text, message):
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(UsageError, match=message) as raised:
        read_config(tmp_path / "config.toml")
    assert len(str(raised.value)) < 500 + len(str(tmp_path))


@pytest.mark.timeout(10)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_configuration_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "config.toml")
    with pytest.raises(UsageError, match="is not an ordinary file"):
        read_config(tmp_path / "config.toml")


def test_a_configuration_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"gone\.toml: No such file"):
        read_config(tmp_path / "gone.toml")


def test_metrics_have_a_line_for_each_epoch(tmp_path):
    rows = [{"epoch": 1, "loss": 0.1 + 0.2}, {"epoch": 2, "loss": math.pi}]
    for count in (1, 2):
        write_metrics(tmp_path, rows[:count])
        read = list(csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines()))
        assert [{name: float(value) for name, value in row.items()} for row in read] == rows[:count]


def make_run(folder, age_s=0):
    folder.mkdir(parents=True)
    best = folder / "best.safetensors"
    best.touch()
    os.utime(best, (1e9 - age_s, 1e9 - age_s))
    return best


def test_a_checkpoint_is_found_by_file_by_folder_and_by_name(tmp_path):
    best = make_run(tmp_path / "elsewhere")
    here = make_run(Path("checkpoints/mine"))
    assert find_checkpoint(best).path == best
    assert find_checkpoint(str(tmp_path / "elsewhere")).path == best
    assert find_checkpoint("mine").path == here
    assert find_checkpoint("checkpoints/mine").path == here
    assert find_checkpoint("mine").name == "run checkpoints/mine"


def test_a_folder_that_is_no_run_does_not_hide_a_run():
    best = make_run(Path("checkpoints/mine"))
    Path("mine").mkdir()
    assert find_checkpoint("mine").path == best


def test_inside_a_run_folder_a_dot_names_it_and_nothing_names_nothing(monkeypatch):
    make_run(Path("checkpoints/mine"))
    monkeypatch.chdir("checkpoints/mine")
    assert find_checkpoint(".").path == Path("best.safetensors")
    with pytest.raises(CheckpointError, match="the name of the checkpoint is empty"):
        find_checkpoint("")


def test_a_path_comes_before_a_name():
    make_run(Path("checkpoints/mine"))
    Path("mine").touch()
    assert find_checkpoint("mine").path == Path("mine")


def test_left_out_it_is_the_newest_run_that_has_a_network():
    make_run(Path("checkpoints/a"), age_s=1)
    newest = make_run(Path("checkpoints/b"))
    make_run(Path("checkpoints/c"), age_s=2)
    Path("checkpoints/just-begun").mkdir()
    assert find_checkpoint().path == newest


def test_with_no_run_here_it_is_the_pretrained_cnn():
    Path("checkpoints/just-begun").mkdir(parents=True)
    found = find_checkpoint()
    assert found.path.is_file()
    assert found.path.name == "pretrained-cnn.safetensors"
    assert found.name.startswith("pretrained-cnn")


@pytest.mark.parametrize("name", ["pretrained-cnn", "pretrained-mlp"])
def test_a_network_that_ships_is_found_by_name(name):
    make_run(Path("checkpoints/mine"))
    assert find_checkpoint(name).path.stem == name


def test_what_is_not_there_is_named_with_what_to_do():
    with pytest.raises(CheckpointError, match='no checkpoint at gone; run "digitnet train" first'):
        find_checkpoint("gone")
    Path("empty").mkdir()
    with pytest.raises(CheckpointError, match=r"empty holds no best.safetensors"):
        find_checkpoint("empty")


def test_the_networks_of_a_run_come_in_the_order_of_the_epochs():
    folder = Path("checkpoints/mine")
    folder.mkdir(parents=True)
    for epoch in (10, 2, 1000, 1):
        (folder / epoch_name(epoch)).touch()
    for other in ("best.safetensors", "epoch-1.safetensors", "epoch-003.safetensors.tmp", "epoch-004.png"):
        (folder / other).touch()
    expected = [folder / f"epoch-{number}.safetensors" for number in ("001", "002", "010", "1000")]
    assert find_epochs("mine") == find_epochs(folder) == (folder, expected)
    assert find_checkpoint("mine").path == folder / "best.safetensors"


def test_a_run_without_networks_of_its_epochs_says_how_to_keep_them(tmp_path):
    with pytest.raises(CheckpointError, match="no run at gone; make one by"):
        find_epochs("gone")
    with pytest.raises(CheckpointError, match="holds no network of single epochs: train with --keep-epochs"):
        find_epochs(tmp_path)
    with pytest.raises(CheckpointError, match="no run at"):
        find_epochs("")


def test_a_lock_is_given_back_and_not_only_forgotten(tmp_path, monkeypatch):
    taken, acquire = [], FileLock.acquire

    def note_lock(self, *arguments, **options):
        taken.append(self)
        return acquire(self, *arguments, **options)

    monkeypatch.setattr(FileLock, "acquire", note_lock)
    with locked(tmp_path):
        assert taken[0].is_locked
    assert not taken[0].is_locked
