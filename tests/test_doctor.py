"""What the doctor finds is what is wrong, with what to do; one broken thing hides no other; and nothing is changed."""

import io
import json
import os
import shutil
import tempfile
import tomllib
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ROOT, digitnet_command, idx_bytes, write_idx
from typer.testing import CliRunner

import digitnet
from digitnet.cli import app
from digitnet.console.doctor import print_checks
from digitnet.data import mnist
from digitnet.data.cache import cached
from digitnet.data.digits import Digits, fingerprint
from digitnet.data.strokes import draw_strokes
from digitnet.doctor import examination, files, machine, software
from digitnet.doctor.check import Check, is_at_least
from digitnet.errors import CheckpointError
from digitnet.predictor import Classifier
from digitnet.runs import Found

NAMES = [*examination.CHECKS, "terminal"]


def tree():
    return sorted(Path(os.environ["HOME"]).parent.rglob("*"))


def doctor(*arguments, code=0):
    result = CliRunner().invoke(app, ["doctor", *arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    assert result.stderr == ""
    return result.stdout


def advised(check, status, *said):
    """Assert a check's status, that it says what to do, and what it says."""
    assert check.status == status, check
    assert check.advice
    for words in said:
        assert words in f"{check.found}; {check.advice}"


# The command.


def test_where_all_is_well_it_says_so_and_changes_nothing(monkeypatch):
    def never():
        raise AssertionError("a download was tried")

    monkeypatch.setattr(mnist, "_download", never)
    before = tree()
    document = json.loads(doctor("--json"))
    assert tree() == before
    assert {**document, "checks": None} == {"format": 1, "digitnet": digitnet.__version__, "ok": True, "checks": None}
    assert [check["name"] for check in document["checks"]] == NAMES
    for check in document["checks"]:
        assert list(check) == ["name", "status", "found", "advice"]
        assert (check["status"] == "ok") == (check["advice"] is None)
    unwell = {check["name"] for check in document["checks"] if check["status"] != "ok"}
    assert {"mnist"} <= unwell <= {"mnist", "gpu", "threads", "extra plot", "extra tb"}  # as this machine has it


def test_a_failure_is_a_line_and_an_exit_code_of_1(monkeypatch):
    folder = Path("checkpoints/\x1b[31mred")
    folder.mkdir(parents=True)
    (folder / "best.safetensors").write_bytes(b"PK\x03\x04")
    monkeypatch.setattr(examination, "CHECKS", {"python": software.check_python, "runs": files.check_runs})
    assert json.loads(doctor("--json", code=1))["ok"] is False
    lines = doctor(code=1).splitlines()
    assert [line.split()[:2] for line in lines[:-1]] == [["ok", "python"], ["failed", "runs"], ["ok", "terminal"]]
    assert r"\x1b[31mred/best.safetensors is" in lines[1]
    assert "delete its folder" in lines[1]
    assert lines[-1] == "Of 3 checks: 1 failed."


def test_warnings_are_no_failure(monkeypatch):
    monkeypatch.setattr(examination, "CHECKS", {"mnist": files.check_mnist})
    assert doctor().splitlines()[-1] == "Of 2 checks: 1 warning."


def test_one_broken_check_hides_no_other(monkeypatch):
    def broken(_name):
        raise OSError(5, "Input/output error", "/dev/x")

    for name in ("packages", "gpu", "cache"):
        monkeypatch.setitem(examination.CHECKS, name, broken)
    checks = {check.name: check for check in examination.examine(io.StringIO())}
    assert list(checks) == NAMES
    assert {name for name, check in checks.items() if check.status == "failed"} == {"packages", "gpu", "cache"}
    advised(checks["gpu"], "failed", "OSError: [Errno 5] Input/output error: '/dev/x'", "report it")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("raise ModuleNotFoundError(\"No module named 'torch'\")", ["No module named 'torch'", "pip install torch"]),
        ("raise OSError('libcudnn.so.9: cannot open shared object file')", ["libcudnn.so.9", "--force-reinstall"]),
        ("", ["has no attribute 'zeros'", "--force-reinstall"]),
    ],
    ids=["missing", "a library is missing", "another module of this name"],
)
def test_it_works_where_torch_does_not(tmp_path, monkeypatch, source, said):
    (tmp_path / "torch.py").write_text(source)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    done = digitnet_command("doctor", "--json")
    assert (done.returncode, done.stderr) == (1, "")
    checks = {check["name"]: Check(**check) for check in json.loads(done.stdout)["checks"]}
    assert list(checks) == NAMES
    advised(checks["torch"], "failed", *said)
    skipped = {name for name, check in checks.items() if "it needs torch" in check.found}
    assert skipped == examination.NEED_TORCH
    assert {name for name, check in checks.items() if check.status == "failed"} == {"torch"}


@pytest.mark.parametrize(("columns", "indent"), [(80, 26), (50, 9)])
def test_lines_fit_the_terminal(capsys, monkeypatch, columns, indent):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    check = Check(name="write temporary", status="failed", found="many words " * 20, advice="more words " * 9)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    print_checks([check])
    assert capsys.readouterr().out.startswith("\x1b[31mfailed\x1b[0m ")
    monkeypatch.setenv("NO_COLOR", "1")
    print_checks([check])
    *lines, last = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    assert {len(line) - len(line.lstrip()) for line in lines[1:]} == {indent}
    assert " ".join(lines).split()[-2:] == ["more", "words"]
    assert last == "Of 1 checks: 1 failed."


# Software.


def test_bounds_are_those_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == f">={software.PYTHON}"
    assert project["dependencies"] == [f"{package}>={least}" for package, least in software.LEAST.items()]
    extras = {extra: ">=".join(pair) for extra, pair in software.EXTRAS.items()}
    assert {name: [line] for name, line in extras.items()}.items() <= project["optional-dependencies"].items()


@pytest.mark.parametrize(
    ("version", "least", "expected"),
    [("2.6.0+cu126", "2.6", True), ("2.6", "2.6.0", True), ("2.10.0", "2.9", True), ("2.5.1", "2.6", False)],
)
def test_versions_are_compared_as_numbers(version, least, expected):
    assert is_at_least(version, least) is expected


def test_an_old_python_is_named(monkeypatch):
    monkeypatch.setattr("platform.python_version", lambda: "3.10.12")
    advised(software.check_python("python"), "failed", "3.10.12", "3.11")


def test_another_version_of_digitnet_is_named(monkeypatch):
    monkeypatch.setattr(metadata, "version", lambda _: "0.0.9")
    advised(software.check_digitnet("digitnet"), "warning", "0.0.9")


def test_packages_that_are_missing_old_or_broken_are_named(monkeypatch):
    true_import, true_version = software.importlib.import_module, metadata.version

    def version(package):
        if package == "filelock":
            raise metadata.PackageNotFoundError(package)
        return "0.4.2" if package == "safetensors" else true_version(package)

    def import_module(name):
        if name == "PIL.Image":
            raise ImportError("libjpeg.so.62: cannot open shared object file")
        return true_import(name)

    assert software.check_packages("packages").status == "ok"
    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(software.importlib, "import_module", import_module)
    check = software.check_packages("packages")
    advised(check, "failed", "filelock is missing", "safetensors 0.4.2 is older than 0.4.3", "libjpeg.so.62")
    assert check.advice.endswith(" pillow safetensors filelock")


def test_an_old_torch_is_named(monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    advised(software.check_torch("torch"), "failed", "2.5.1+cpu is older than 2.6", "pip install")


@pytest.mark.parametrize(
    ("version", "needed", "fits"),
    [
        ("2.6.0+cu126", "==2.6.0", True),
        ("2.7.0", "==2.6.0", False),
        ("2.5.0", "==2.6.0", False),
        ("2.15.0", ">=2.14.0", True),
        ("2.13.1", ">=2.14.0", False),
        ("2.15.0", ">=2.14.0,==2.15.0", True),
        ("2.15.1", ">=2.14.0, ==2.15.0", False),
    ],
)
@pytest.mark.parametrize("form", ["torch{}", "torch ({})"])
def test_torch_and_torchvision_are_to_be_a_pair(monkeypatch, version, needed, fits, form):
    true = metadata.version
    monkeypatch.setattr(metadata, "requires", lambda _: ["numpy", "torchlike>=9", form.format(needed), "pillow>=5"])
    monkeypatch.setattr(metadata, "version", lambda package: version if package == "torch" else true(package))
    check = software.check_torchvision("torchvision")
    if fits:
        assert check.status == "ok"
    else:
        advised(check, "failed", f"needs torch {needed}; torch is {version}", "pip install")


def test_a_torchvision_of_another_torch_says_which_fits(monkeypatch):
    def import_module(_):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(metadata, "requires", lambda _: ["torch==2.6.0"])
    monkeypatch.setattr(software.importlib, "import_module", import_module)
    said = ("needs torch ==2.6.0", "operator torchvision::nms does not exist", "install both anew, as a pair")
    advised(software.check_torchvision("torchvision"), "failed", *said)


def test_extras_that_are_missing_say_how_to_get_them(monkeypatch):
    def missing(package):
        raise metadata.PackageNotFoundError(package)

    monkeypatch.setattr(metadata, "version", missing)
    advised(software.check_extra("extra plot"), "warning", "matplotlib is missing", "pip install 'digitnet[plot]'")
    advised(software.check_extra("extra tb"), "warning", "tensorboard is missing", "pip install 'digitnet[tb]'")
    monkeypatch.setattr(metadata, "version", lambda _: "1.0")
    monkeypatch.setattr(software.importlib, "import_module", lambda _: None)
    advised(software.check_extra("extra plot"), "warning", "1.0 is older than 3.10.8", "--upgrade")


# The machine.


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_right_product_is_told_from_a_wrong_one(monkeypatch, dtype):
    true = torch.Tensor.__matmul__
    assert machine.multiplies_right(torch.device("cpu"), dtype)
    assert machine.check_cpu("cpu").status == "ok"
    monkeypatch.setattr(torch.Tensor, "__matmul__", lambda left, right: true(right, left))
    assert not machine.multiplies_right(torch.device("cpu"), dtype)
    advised(machine.check_cpu("cpu"), "failed", "comes out wrong")


@pytest.fixture
def two_gpus(monkeypatch):
    """Let PyTorch say that it sees two GPUs, and compute on the CPU what is asked of them."""
    found = SimpleNamespace(name="Some GPU", total_memory=80e9)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: found)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    asked = []

    def multiply(device, dtype):
        asked.append((device, dtype))
        return answers.pop(0) if answers else True

    answers = []
    monkeypatch.setattr(machine, "multiplies_right", multiply)
    return answers, asked


def test_each_gpu_multiplies_in_each_type(two_gpus):
    check = machine.check_gpu("gpu")
    assert (check.status, check.found.startswith("cuda:0: Some GPU, 80 GB, cuda:1: Some GPU")) == ("ok", True)
    pairs = {(torch.device("cuda", i), dtype) for i in range(2) for dtype in (torch.float32, torch.bfloat16)}
    assert set(two_gpus[1]) == pairs
    assert machine.check_precision("precision").found.startswith("auto takes bf16 on cuda")


def test_a_gpu_that_computes_wrongly_or_not_at_all_is_named(two_gpus, monkeypatch):
    def fail(*_):
        raise RuntimeError("CUDA error: no kernel image is available\nCompile with ...")

    two_gpus[0].extend([True, True, True, False])
    advised(machine.check_gpu("gpu"), "failed", "cuda:1: Some GPU", "comes out wrong", "--device")
    monkeypatch.setattr(machine, "multiplies_right", fail)
    check = machine.check_gpu("gpu")
    advised(check, "failed", "cuda:0", "no kernel image is available", "--device cpu", "https://pytorch.org")
    assert "Compile" not in check.found


def test_a_gpu_that_torch_does_not_see_says_why(monkeypatch):
    def unavailable():
        machine.warnings.warn("CUDA initialization: The NVIDIA driver is too old\n(found 1)", stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", unavailable)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(machine, "_has_nvidia", lambda: False)
    assert machine.check_gpu("gpu").status == "ok"
    monkeypatch.setattr(machine, "_has_nvidia", lambda: True)
    monkeypatch.setattr(torch.version, "cuda", "13.2")
    check = machine.check_gpu("gpu")
    advised(check, "warning", "driver is too old", "renew its driver")
    assert "found 1" not in check.found
    monkeypatch.setattr(torch.version, "cuda", None)
    advised(machine.check_gpu("gpu"), "warning", "made without CUDA")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert machine.check_gpu("gpu").found == "an NVIDIA GPU, hidden by CUDA_VISIBLE_DEVICES"


@pytest.mark.parametrize(
    ("contents", "share"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu.max": "nonsense"}, None),
        ({}, None),
    ],
)
def test_a_containers_share_is_read(tmp_path, contents, share):
    (tmp_path / "cpu").mkdir()
    for name, text in contents.items():
        (tmp_path / name).write_text(text)
    assert machine.cgroup_share(tmp_path) == share


def test_more_threads_than_cores_are_named(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    monkeypatch.setattr(machine, "cgroup_share", lambda _: 2.5)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    advised(machine.check_threads("threads"), "warning", "8 for 2 cores", "set OMP_NUM_THREADS=2")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert machine.check_threads("threads").status == "ok"
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    advised(machine.check_threads("threads"), "warning", "many, which is no number", "unset")


class Terminal(io.StringIO):
    """A terminal of an encoding."""

    encoding = "utf-8"

    def isatty(self):
        return True


def test_the_terminal_is_described(monkeypatch):
    monkeypatch.setenv("COLUMNS", "61")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert machine.check_terminal("terminal", Terminal()).found == "61 columns, utf-8, in colour"
    monkeypatch.setenv("TERM", "dumb")
    assert machine.check_terminal("terminal", Terminal()).found.endswith("no colour, by TERM=dumb")
    monkeypatch.setenv("NO_COLOR", "1")
    assert machine.check_terminal("terminal", Terminal()).found.endswith("no colour, by NO_COLOR")
    monkeypatch.setattr(Terminal, "encoding", "ascii")
    advised(machine.check_terminal("terminal", Terminal()), "warning", "pictures are drawn in ASCII", "UTF-8")


# Files.


def test_a_network_that_misreads_or_is_not_there_is_named(classifier, monkeypatch):
    def missing(_):
        raise CheckpointError("pretrained-cnn is not installed with this digitnet")

    assert files.check_network("pretrained-mlp").found == "reads 10 of 10 drawn digits right"
    blind = Classifier(classifier.checkpoint, Found(path=classifier.path, name=classifier.name))
    for parameter in blind.model.parameters():
        parameter.data.zero_()
    monkeypatch.setattr(Classifier, "load", lambda _: blind)
    advised(files.check_network("pretrained-cnn"), "failed", "reads 1 of 10 drawn digits right")
    monkeypatch.setattr(Classifier, "load", missing)
    advised(files.check_network("pretrained-cnn"), "failed", "pretrained-cnn is not installed", "digitnet train")


def test_runs_that_cannot_be_read_are_named(run_folder, monkeypatch):
    assert files.check_runs("runs").found == "none in ./checkpoints; pretrained-cnn reads"
    for age, name in enumerate(("new", "middle", "old")):
        shutil.copytree(run_folder, f"checkpoints/{name}")
        os.utime(f"checkpoints/{name}/best.safetensors", (10**9 - age, 10**9 - age))
    assert files.check_runs("runs").found == "3 in ./checkpoints can be read; the newest is new"
    monkeypatch.setattr(files, "MOST_RUNS", 2)
    damage("old")
    assert files.check_runs("runs").found.startswith("the newest 2 of 3 in")
    monkeypatch.setattr(files, "MOST_RUNS", 3)
    damage("middle")
    said = ("checkpoints/middle/best.safetensors is not a safetensors file", "nor can be read: checkpoints/old/best")
    advised(files.check_runs("runs"), "warning", *said, "delete their folders")
    damage("new")
    advised(files.check_runs("runs"), "failed", "checkpoints/new/best.safetensors is not a safetensors file")


def damage(run):
    """Cut a run's network short, and leave its time as it is."""
    path = Path(f"checkpoints/{run}/best.safetensors")
    before = path.stat()
    path.write_bytes(path.read_bytes()[:7])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_data_folder_that_holds_no_mnist_is_named(tmp_path, monkeypatch):
    advised(files.check_mnist("mnist"), "warning", "not on this machine", "downloads it", "DIGITNET_DATA_DIR")
    monkeypatch.setenv("DIGITNET_DATA_DIR", str(tmp_path / "absent"))
    advised(files.check_mnist("mnist"), "failed", "absent: there is no such folder", "unset DIGITNET_DATA_DIR")
    monkeypatch.setenv("DIGITNET_DATA_DIR", str(tmp_path))
    for stem in ("train", "t10k"):
        write_idx(tmp_path / f"{stem}-images-idx3-ubyte", idx_bytes(np.zeros((20, 28, 28), np.uint8)))
        write_idx(tmp_path / f"{stem}-labels-idx1-ubyte.gz", idx_bytes(np.zeros(20, np.uint8)))
    advised(files.check_mnist("mnist"), "failed", "digits that are not MNIST's: expected the fingerprint")


def test_the_real_mnist_is_well_in_its_folder_and_in_the_cache(mnist_dir, cache_folder, monkeypatch):
    monkeypatch.setenv("DIGITNET_DATA_DIR", str(mnist_dir))
    assert files.check_mnist("mnist").found == f"all of it, in DIGITNET_DATA_DIR, {mnist_dir}"
    assert not cache_folder.exists()
    cached("mnist", "train", lambda: mnist.read_mnist(mnist_dir))
    monkeypatch.delenv("DIGITNET_DATA_DIR")
    assert files.check_mnist("mnist").found == "in the cache"
    assert files.check_cache("cache").found == f"1 data set, whole, 55 MB in {cache_folder}"


def store(name):
    images, targets = draw_strokes(30, seed=1)
    digits = Digits(name="some", images=images, targets=targets, fingerprint=fingerprint(images, targets))
    cached(name, "train", lambda: {"train": digits, "test": digits})


def test_what_is_damaged_in_the_cache_is_named(cache_folder, monkeypatch):
    assert files.check_cache("cache").found == f"none yet; it will be {cache_folder}"
    store("whole")
    (cache_folder / "somebody's folder").mkdir()
    check = files.check_cache("cache")
    assert (check.status, check.found) == ("ok", f"1 data set, whole, 0 MB in {cache_folder}")
    (cache_folder / "whole.part-abc").mkdir()
    (cache_folder / "whole.part-abc/train-images.npy").write_bytes(b"half of it")
    advised(files.check_cache("cache"), "warning", f"{cache_folder}/whole.part-abc", "delete it")
    for name in ("turned", "cut", "mnist-like", "undescribed"):
        store(name)
    content = bytearray((cache_folder / "turned/test-images.npy").read_bytes())
    content[-400] ^= 1
    (cache_folder / "turned/test-images.npy").write_bytes(content)
    (cache_folder / "cut/train-targets.npy").write_bytes(b"")
    (cache_folder / "undescribed/info.json").unlink()
    check = files.check_cache("cache")
    said = ("turned holds other digits than it should, in its test part", "cut cannot be read", "undescribed cannot")
    advised(check, "failed", *said, "mnist-like holds other digits than it should, in its train part")
    assert "whole" not in check.found
    monkeypatch.setenv("DIGITNET_CACHE_DIR", str(cache_folder / "whole/info.json"))
    advised(files.check_cache("cache"), "failed", "info.json is not a folder", "DIGITNET_CACHE_DIR")


PLACES = [
    (files.check_runs_place, "failed", "--output DIR"),
    (files.check_cache_place, "warning", "DIGITNET_CACHE_DIR"),
    (files.check_temporary_place, "failed", "TMPDIR"),
]


@pytest.mark.parametrize(("look", "status", "said"), PLACES, ids=["runs", "cache", "temporary"])
def test_places_that_cannot_be_written_are_named(monkeypatch, look, status, said):
    def fail(**_):
        raise PermissionError(13, "Permission denied", "/x")

    assert look("place").status == "ok"
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 0, 199_000_000))
    advised(look("place"), "warning", "199 MB free", "200 MB are wanted")
    monkeypatch.setattr(tempfile, "TemporaryFile", fail)
    advised(look("place"), status, "cannot be written (Permission denied)", said)


def test_a_file_in_the_place_of_a_folder_is_named():
    Path("checkpoints").write_text("")
    advised(files.check_runs_place("write runs"), "failed", "checkpoints: cannot be written (Not a directory)")


def test_a_place_to_be_made_says_where():
    assert f"checkpoints, to be made in {Path.cwd()}: " in files.check_runs_place("write runs").found
