"""``eval --suite`` and ``--against``, from end to end, with a few drawn digits in MNIST's place."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import save_png, write_part
from test_cli import fail, invoke

import digitnet
from digitnet.comparison import Comparison
from digitnet.console import evaluations
from digitnet.data import load, mnist
from digitnet.data.digits import fingerprint
from digitnet.data.strokes import draw_strokes
from digitnet.data.variants import VARIANTS, vary
from digitnet.metrics import Metrics
from digitnet.suite import SuiteRow

SIZES = {"train": 60, "test": 45}
NAMES = ["mnist", *(variant.name for variant in VARIANTS)]


@pytest.fixture
def toy_mnist(monkeypatch, tmp_path):
    """Put drawn digits into MNIST's files, and return those to test on: images and targets."""
    for part, size in SIZES.items():
        images, targets = draw_strokes(size, seed=size)
        monkeypatch.setitem(mnist.FINGERPRINTS, part, fingerprint(images, targets))
        write_part(tmp_path / "toy", part, images[:, 0], targets)
    monkeypatch.setenv("DIGITNET_DATA_DIR", str(tmp_path / "toy"))
    return images, targets


@pytest.fixture
def second():
    """The path of a second, less trained network."""
    options = ("--model", "mlp", "--preset", "fast", "--hidden-sizes", "8", "--steps", "9", "--name", "second")
    invoke("train", *options, "--dataset", "strokes", "--train-size", "300", "--seed", "5", "--device", "cpu")
    return "checkpoints/second"


def right(classifier, images, targets):
    """Tell which images a classifier reads rightly, one at a time."""
    return np.array(
        [classifier.probabilities(image[None]).argmax() == t for image, t in zip(images, targets, strict=True)]
    )


def own_folder(name, count=10, seed=1):
    """Make a data set of a folder for each digit."""
    images, targets = draw_strokes(count, seed=seed)
    for i, (image, target) in enumerate(zip(images, targets.tolist(), strict=True)):
        save_png(Path(name, str(target), f"{i}.png"), image[0])
    return name


def suite(*arguments, **options):
    return json.loads(invoke("eval", "--suite", "--json", "--device", "cpu", *arguments, **options).stdout)


def test_the_suite_counts_what_the_network_makes_of_each_copy(toy_mnist, run_folder, classifier):
    report = suite("--checkpoint", run_folder)
    images, targets = toy_mnist
    assert [row["set"] for row in report["sets"]] == NAMES
    for row, variant in zip(report["sets"], (None, *VARIANTS), strict=True):
        known = right(classifier, vary(images, variant) if variant else images, targets)
        assert (row["count"], row["correct"], row["errors"]) == (45, known.sum(), 45 - known.sum())
        assert row["accuracy"] == pytest.approx(known.mean())
        assert np.trace(row["confusion"]) == known.sum()
        assert row["split"] == "test"
        assert row["against"] is None
    assert report["mean_of_copies"] == pytest.approx(np.mean([row["accuracy"] for row in report["sets"][1:]]))
    assert report["against"] is None
    assert report["noise_seed"] > 0
    assert report["sets"][0]["changed"] is None
    assert report["sets"][1]["changed"] == {
        "right_px": -2, "down_px": 0, "left_turn_deg": 0.0, "scale": 1.0, "blur_px": 0.0, "noise": 0.0, "grow_px": 0.0,
    }  # fmt: skip


@pytest.mark.usefixtures("toy_mnist")
def test_the_table_says_the_same_as_the_json_and_is_the_same_each_time(run_folder):
    folder = own_folder("mine")
    options = ("--checkpoint", run_folder, "--dataset", folder)
    shown = invoke("eval", "--suite", *options).stdout
    assert shown == invoke("eval", "--suite", *options).stdout
    heading, *lines = shown.splitlines()
    rows = suite(*options)["sets"]
    assert heading.split() == ["set", "images", "accuracy", "95%", "interval", "errors"]
    assert len(lines) == len(rows) + 1
    mean = lines.pop(len(NAMES))  # after the copies, before the folders
    assert mean.split() == ["mean", "of", "the", "copies", f"{suite(*options)['mean_of_copies']:.2%}"]
    for line, row in zip(lines, rows, strict=True):
        low, high = row["accuracy_interval_95"]
        figures = [f"{row['count']}", f"{row['accuracy']:.2%}", f"{low:.2%}", "to", f"{high:.2%}", f"{row['errors']}"]
        assert line.split() == [*row["set"].split(), *figures]


@pytest.mark.usefixtures("toy_mnist")
def test_folders_and_strokes_stand_beside_the_copies(monkeypatch, run_folder):
    monkeypatch.setitem(load.STROKES_SIZES, "test", 70)
    folders = [own_folder("mine", 10), own_folder("yours", 30, seed=2)]
    named = [part for folder in (*folders, "strokes") for part in ("--dataset", folder)]
    report = suite("--checkpoint", run_folder, *named)
    assert [(row["set"], row["count"]) for row in report["sets"][len(NAMES) :]] == [
        ("mine", 10), ("yours", 30), ("strokes", 70),
    ]  # fmt: skip
    assert report["mean_of_copies"] == suite("--checkpoint", run_folder)["mean_of_copies"]


def test_against_counts_who_alone_is_right(toy_mnist, run_folder, classifier, second):
    images, targets = toy_mnist
    report = suite("--checkpoint", run_folder, "--against", second)
    other = digitnet.load(second)
    assert report["against"]["checkpoint"].startswith(second)
    means = []
    for row, variant in zip(report["sets"], (None, *VARIANTS), strict=True):
        copies = vary(images, variant) if variant else images
        this, that = right(classifier, copies, targets), right(other, copies, targets)
        found = row["against"]
        assert (found["only_this"], found["only_other"]) == ((this & ~that).sum(), (that & ~this).sum())
        assert (found["both"], found["neither"]) == ((this & that).sum(), (~this & ~that).sum())
        assert (found["correct"], found["accuracy"]) == (that.sum(), pytest.approx(that.mean()))
        assert found["significant"] == (found["p_value"] < 0.05)
        means.append(that.mean())
    assert report["against"]["mean_of_copies"] == pytest.approx(np.mean(means[1:]))
    assert report["sets"][0]["accuracy"] > means[0]  # or this test would not tell the two apart


def test_a_plain_evaluation_against_another(monkeypatch, run_folder, classifier, second):
    monkeypatch.setitem(load.STROKES_SIZES, "test", 200)
    images, targets = draw_strokes(200, seed=load.STROKES_SEEDS["test"])
    options = ("--checkpoint", run_folder, "--against", second, "--device", "cpu")
    found = json.loads(invoke("eval", *options, "--json").stdout)
    this, that = right(classifier, images, targets), right(digitnet.load(second), images, targets)
    assert found["correct"] == this.sum()
    assert found["against"]["correct"] == that.sum()
    assert (found["against"]["only_this"], found["against"]["only_other"]) == (
        (this & ~that).sum(),
        (that & ~this).sum(),
    )
    result = invoke("eval", *options)
    assert f"{that.mean():.2%}" in result.stdout
    assert found["against"]["conclusion"] in result.stdout
    assert result.stderr.count("Using ") == 2
    assert json.loads(invoke("eval", *options[:2], "--json").stdout)["against"] is None


@pytest.mark.usefixtures("toy_mnist")
def test_against_itself_nothing_differs(run_folder):
    rows = suite("--checkpoint", run_folder, "--against", run_folder)["sets"]
    assert {row["against"]["p_value"] for row in rows} == {1.0}
    assert all(row["against"]["accuracy"] == row["accuracy"] for row in rows)


@pytest.mark.usefixtures("toy_mnist")
def test_what_trained_either_network_is_not_counted(run_folder):
    own_folder("mine", 100)
    tiny = ("--model", "mlp", "--preset", "fast", "--hidden-sizes", "8", "--epochs", "1", "--batch-size", "30")
    invoke("train", *tiny, "--dataset", "mine", "--name", "trained-on-it")
    for pair in (("trained-on-it", run_folder), (run_folder, "trained-on-it"), ("trained-on-it", "trained-on-it")):
        options = ("--checkpoint", pair[0], "--against", pair[1], "--dataset", "mine")
        assert suite(*options)["sets"][-1]["split"] == "validation"
        assert suite(*options)["sets"][-1]["count"] == 10
        assert json.loads(invoke("eval", "--json", *options).stdout)["count"] == 10
        assert "mine, validation" in invoke("eval", "--suite", *options).stdout
    assert suite("--checkpoint", run_folder, "--dataset", "mine")["sets"][-1]["count"] == 100


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--dataset", "a", "--dataset", "b"], "several data sets are for --suite"),
        (["--suite", "--split", "train"], "--split train"),
        (["--suite", "--split", "validation"], "--split validation"),
        (["--suite", "--dataset", "mnist"], "mnist is in the suite"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_loaded(arguments, said):
    assert said in fail("eval", "--checkpoint", "gone", *arguments, code=2)


@pytest.mark.usefixtures("toy_mnist")
def test_without_mnist_or_a_folder_it_says_so(monkeypatch, run_folder):
    options = ("--suite", "--checkpoint", run_folder)
    assert "gone: there is no such data set" in fail("eval", *options, "--dataset", "gone", code=1)
    assert "no checkpoint at gone" in fail("eval", *options, "--against", "gone", code=1)
    monkeypatch.delenv("DIGITNET_DATA_DIR")
    assert "connect this machine to a network" in fail("eval", *options, code=1)
    assert "no such folder to read MNIST from" in fail("eval", *options, "--data-dir", "nowhere", code=1)


@pytest.mark.usefixtures("toy_mnist")
def test_the_least_accuracy_is_of_the_copies_mean(run_folder):
    report = suite("--checkpoint", run_folder)
    mean = report["mean_of_copies"]
    assert mean < report["sets"][0]["accuracy"] - 0.02
    invoke("eval", "--suite", "--checkpoint", run_folder, "--min-accuracy", mean - 0.01)
    result = invoke("eval", "--suite", "--checkpoint", run_folder, "--min-accuracy", mean + 0.01, code=4)
    assert f"the mean of the copies is {mean:.2%}" in result.stderr
    assert "mean of the copies" in result.stdout  # the table is shown all the same


@pytest.mark.usefixtures("toy_mnist")
def test_the_data_folder_is_mnists_alone(tmp_path, monkeypatch, run_folder):
    monkeypatch.delenv("DIGITNET_DATA_DIR")
    folder = own_folder("mine")
    report = suite("--checkpoint", run_folder, "--data-dir", tmp_path / "toy", "--dataset", folder)
    assert [row["count"] for row in report["sets"]] == [45] * len(NAMES) + [10]


def test_the_tables_fit_80_columns_whatever_the_folder_is_called(capsys):
    count = 999_999
    counts = Comparison(both=0, only_this=count - 1, only_other=1, neither=0)
    metrics = Metrics(loss=0.0, confusion=tuple(tuple(count * (r == c == 0) for c in range(10)) for r in range(10)))
    common = {"split": "test", "metrics": metrics, "comparison": counts, "elapsed_s": 1.0}
    long = f"/home/{'long/' * 30}handwriting\x1b[31m"
    rows = [SuiteRow(name=v.name, variant=v, **common) for v in VARIANTS]
    rows.append(SuiteRow(name=long, variant=None, **common))
    other = type("Classifier", (), {"name": "checkpoints/other"})
    shown = evaluations.print_suite(iter(rows), [row.label for row in rows])
    evaluations.print_suite_comparison(other, shown)
    evaluations.print_comparison(other, counts)
    out, err = capsys.readouterr()
    assert shown == rows
    assert err == ""
    assert max(map(len, out.splitlines())) <= 80
    assert out.count("handwriting\\x1b[31m") == 2
    assert "\x1b" not in out


def test_a_row_is_shown_before_the_next_is_counted(capsys):
    seen = []

    def rows():
        for variant in VARIANTS[:3]:
            seen.append(capsys.readouterr().out)
            confusion = tuple(tuple(int(r == c) for c in range(10)) for r in range(10))
            metrics = Metrics(loss=0.0, confusion=confusion)
            yield SuiteRow(
                name=variant.name, split="test", variant=variant, metrics=metrics, comparison=None, elapsed_s=1.0
            )

    evaluations.print_suite(rows(), [variant.name for variant in VARIANTS])
    assert seen[0].startswith("set ")
    assert seen[1].startswith(VARIANTS[0].name)
    assert seen[2].startswith(VARIANTS[1].name)
