"""Imports point down, heavy ones wait until they are needed, and only the console and the commands speak."""

import ast
import sys

import pytest
from conftest import ROOT, run_python

# From the bottom up, a layer a line. A module may import only what stands before it.
LAYERS = """
errors values launch config sources bombs assignment
atomic recipes device meeting distributed arrays components hull modes decoding normalise shards inputs
paper sheet ruling marks parts blots ink several seams cells layout segments pictures drawing
data.glyphs data.letters data.templates data.pen data.stream data.strokes data.nondigits
data.order data.idx data.digits data.stage data.augment data.variants data.cache data.mnist
data.flat data.folder data.labelled data.shard_set data.load data.once
models parallel losses optim metrics stopping state comparison summary capture gauge rejection calibration
progress journal
runs container checkpoint snapshots evaluation suite
step stepper trainer engine training retraining verification predictor numbers adapting range_test scalars
bulk.units bulk.lists bulk.counts bulk.parts bulk.work
explain.figures explain.panels explain.trace explain.activity
explain.unit.units explain.unit.figure explain.unit.activations
explain.step.calculus explain.step.toy explain.step.rules explain.step.steps explain.step.figures
explain.image.convolution explain.image.probe explain.image.attribution explain.image.neighbours
explain.image.counterfactual explain.image.references explain.image.explanation explain.image.report
explain.image.picture_figures explain.image.layer_figures explain.image.answer_figures explain.image.animation
explain.image.gallery
explain.training.curves explain.training.rates explain.training.epochs explain.training.strips
explain.evaluation.mistakes explain.evaluation.figures explain.evaluation.page explain.evaluation.report
doctor.check doctor.software doctor.machine doctor.files doctor.examination
console.tables console.notes console.answers console.networks console.evaluations console.verification reports
console.diagrams console.units console.steps console.explanations console.rates console.epochs console.doctor
console.bulk
cli.options cli.train_options cli.configuration cli.outcome cli.launched cli.interruption cli.resuming cli.run_folders
cli.train cli.adapt cli.eval cli.bulk cli.predict cli.info cli.doctor cli.verify
cli.explain.options cli.explain.unit cli.explain.step cli.explain.image
cli.explain.learning_rate cli.explain.training cli.explain cli
"""
ORDER = LAYERS.split()
PICTURES = [
    "shards",
    "inputs",
    "sources",
    "modes",
    "bombs",
    "decoding",
    "normalise",
    "ruling",
    "hull",
    "paper",
    "sheet",
    "marks",
    "parts",
    "ink",
    "blots",
    "several",
    "seams",
    "layout",
    "segments",
    "pictures",
    "drawing",
]
STRANGERS = [  # what either of the two need not know of the other
    ({"models", "losses", "optim", "metrics"}, {"data", "models", "losses", "optim", "metrics", "device"}),
    ({"data", *PICTURES}, {"models", "losses", "optim", "metrics", "device", "recipes"}),
    ({"engine", "trainer", "stepper", "step"}, {"checkpoint", "runs", "pictures", "recipes"}),
    ({"predictor", "numbers"}, {"training", "recipes", "data"}),
    ({"explain"}, {"training", "adapting", "recipes"}),
    ({"console", "reports"}, {"cli", "training", "console", "reports"}),
    ({"adapting"}, {"training", "pictures", "recipes", "predictor"}),
]
HEAVY = {"torch", "torchvision", "numpy", "PIL", "safetensors", "matplotlib", "tensorboard"}
EXPLAIN = {"explain", *(f"explain.{name}" for name in ("unit", "step", "image", "training", "evaluation"))}
FREE = {
    "",
    "__main__",
    "data",
    "bulk",
    "console",
    "doctor",
    *EXPLAIN,
}  # the package itself imports in a function, when that is called

MODULES = {
    ".".join(path.relative_to(ROOT / "digitnet").with_suffix("").parts).removesuffix("__init__").removesuffix("."): path
    for path in sorted((ROOT / "digitnet").rglob("*.py"))
}


def imports_of(path):
    """List what a file imports anywhere, in functions too: full names such as digitnet.data.load."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def ours(path):
    """List the modules of digitnet that a file imports, as they are called in LAYERS."""
    names = {name.removeprefix("digitnet").lstrip(".") for name in imports_of(path) if name.split(".")[0] == "digitnet"}
    return {name if name in MODULES else name.rpartition(".")[0] for name in names}


def test_every_module_has_its_layer():
    assert sorted([*ORDER, *FREE]) == sorted(MODULES)  # a new module needs a place in LAYERS


@pytest.mark.parametrize("name", sorted(set(MODULES) - FREE))
def test_imports_point_down_only(name):
    above = ours(MODULES[name]) - FREE - set(ORDER[: ORDER.index(name)])
    assert not above, f"{name} imports {above}, which does not stand before it"


@pytest.mark.parametrize(("names", "strangers"), STRANGERS, ids=lambda names: ",".join(sorted(names)))
def test_strangers_do_not_import_each_other(names, strangers):
    for name in (name for name in MODULES if {name, name.split(".")[0]} & names):
        known = {other for other in ours(MODULES[name]) if {other, other.split(".")[0]} & strangers}
        assert not {other for other in known if other.split(".")[0] != name.split(".")[0]}, name


def test_pictures_and_files_know_nothing_of_networks():
    for name in (*PICTURES, "config", "recipes", "errors", "atomic", "runs"):
        roots = {imported.split(".")[0] for imported in imports_of(MODULES[name])}
        assert "torch" not in roots, name


def test_only_the_console_and_the_commands_speak():
    for name, path in MODULES.items():
        if name.split(".")[0] in ("console", "cli"):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            spoken = isinstance(node, ast.Name) and node.id == "print"
            spoken |= isinstance(node, ast.Attribute) and node.attr in ("stdout", "stderr")
            # Of what torchvision says while it downloads, data.mnist decides where it goes.
            assert not spoken or name == "data.mnist", f"{name}, line {node.lineno}"


HELP = """
import io, sys
from contextlib import redirect_stdout, suppress
import digitnet
heavy = {heavy}
for arguments in (["--help"], ["train", "--help"], ["eval", "--help"], ["predict", "--help"], ["adapt", "--help"],
                  ["info", "--help"], ["doctor", "--help"], ["verify", "--help"], ["verify"],
                  ["explain"], ["explain", "--help"], ["explain", "unit", "--help"],
                  ["explain", "unit", "--nonsense"], ["explain", "image", "--help"], ["explain", "image"],
                  ["explain", "step", "--help"], ["explain", "learning-rate", "--help"],
                  ["explain", "training", "--help"],
                  ["explain", "step", "--learning-rate", "0"], ["adapt"], ["adapt", "DIR", "--steps", "0"],
                  ["--version"], ["train", "--epochs", "0"], ["train", "--nonsense"], ["predict"]):
    sys.argv = ["digitnet", *arguments]
    with suppress(SystemExit), redirect_stdout(io.StringIO()) as out:
        from digitnet.cli import main
        main()
    assert not heavy & set(sys.modules), (arguments, heavy & set(sys.modules))
    assert "--help" not in arguments or "Usage: digitnet" in out.getvalue(), arguments
"""


def test_neither_import_nor_help_nor_a_wrong_option_loads_anything_heavy():
    done = run_python("-c", HELP.format(heavy=HEAVY))
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


# torch._dynamo brings in SymPy and Triton, and takes as long as the rest of PyTorch.
UNUSED = {"torch._dynamo", "sympy", "torchvision", "triton", "digitnet.training"}
TRAIN = ["train", "--preset", "fast", "--steps", "2", "--dataset", "strokes", "--train-size", "90", "--device", "cpu"]
USE = """
import atexit, gc, sys
class Left:
    def __del__(self, write=sys.stderr.write):
        write(" taken apart")
left = Left()
atexit.register(lambda: print(*sys.modules, gc.get_stats()[0]["collections"], file=sys.stderr))
sys.argv = ["digitnet", *sys.argv[1:]]
from digitnet.cli import main
main()
"""


@pytest.mark.parametrize(
    ("arguments", "unused"),
    [
        (["predict", "PICTURE"], {*UNUSED, "rich.console", "rich.progress", "rich.table"}),
        (["predict", "--jsonl", "PICTURE"], {*UNUSED, "rich.console", "rich.progress", "rich.table"}),
        (["eval", "--dataset", "strokes"], {*UNUSED, "rich.progress"}),
        (["info", "--json"], {*UNUSED, "rich.console", "rich.table"}),
        (TRAIN, UNUSED - {"digitnet.training"}),
    ],
    ids=lambda value: " ".join(value[:3]) if isinstance(value, list) else "",
)
def test_no_command_imports_what_it_does_not_use(run_folder, digit_files, arguments, unused):
    arguments = [digit_files[0] if argument == "PICTURE" else argument for argument in arguments]
    checkpoint = {"info": [run_folder], "train": []}.get(arguments[0], ["--checkpoint", run_folder])
    done = run_python("-c", USE, *arguments, *checkpoint)
    *modules, collections = done.stderr.splitlines()[-1].split()
    assert done.returncode == 0, done.stderr
    assert "torch" in modules
    assert not unused & set(modules)
    assert int(collections) < 100  # the import of torch alone makes a thousand, where nobody prevents it
    assert "taken apart" not in done.stderr  # which would take a good part of a second, and nobody would gain by it


FIT = """
import sys
import torch
from typing import get_args
from digitnet.config import CNNConfig, OptimizerName, TrainConfig
from digitnet.data.digits import Digits
from digitnet.engine import fit
from digitnet.models import build_model
digits = Digits(name="", images=torch.zeros(9, 1, 28, 28, dtype=torch.uint8), targets=torch.arange(9), fingerprint="")
for optimizer in get_args(OptimizerName):
    for dtype in (torch.float32, torch.bfloat16):
        config = TrainConfig(steps=3, batch_size=5, optimizer=optimizer, augment="all", weight_average=0.9)
        model = build_model(CNNConfig(channels=(2,), pool_size=4, pool_stride=4, dropout=0.1))
        *_, last = fit(model, digits, digits, config, dtype)
        assert last.step == 3
print(*sys.modules)
"""


def test_training_imports_what_it_uses_alone():
    done = run_python("-c", FIT)
    assert done.returncode == 0, done.stderr
    modules = set(done.stdout.split())
    assert {"torch", "digitnet.engine"} <= modules
    assert not {*UNUSED, "rich"} & modules


def test_the_package_itself_imports_the_standard_library_only():
    code = "import sys; before = set(sys.modules); import digitnet; print(*(set(sys.modules) - before))"
    roots = {name.split(".")[0] for name in run_python("-c", code).stdout.split()}
    assert roots - sys.stdlib_module_names == {"digitnet"}


def test_run_as_a_module_it_is_the_command():
    assert "digitnet.cli.main" in imports_of(MODULES["__main__"])
