"""How well digits are told from what is none, and the command that says so."""

import json
from itertools import product

import numpy as np
import pytest
import torch
from conftest import save_png
from test_cli import fail, invoke

from digitnet.calibration import Calibration
from digitnet.config import CNNConfig
from digitnet.data.folder import load_unlabelled
from digitnet.data.strokes import draw_strokes
from digitnet.evaluation import RATES_SHOWN, logits_of, tell
from digitnet.models import DigitNet, build_model
from digitnet.rejection import digit_score, fit_thresholds


def test_telling_against_pairs_by_hand():
    noise = torch.Generator().manual_seed(0)
    digits, others = torch.randn(60, 10, generator=noise) + 0.5, torch.randn(40, 10, generator=noise)
    objected = torch.arange(40) % 8 == 0
    scores = digit_score(digits / 1.5)
    calibration = Calibration(temperature=1.5, thresholds=fit_thresholds(scores))
    telling = tell(digits, others, objected, calibration)
    low = [-np.inf if bad else s for s, bad in zip(digit_score(others / 1.5).tolist(), objected, strict=True)]
    assert telling.count == 40
    assert telling.auroc == pytest.approx(np.mean([a > b for a, b in product(scores.tolist(), low)]))
    for rate, share in zip(RATES_SHOWN, telling.accepted, strict=True):
        assert share == pytest.approx(np.mean([s >= calibration.thresholds.score(rate) for s in low]))
    assert 0.5 < telling.auroc < 1


@pytest.fixture
def drawings(tmp_path):
    """A folder of three pictures, one in a sub-folder: blank, a digit of MNIST's form, and two digits in a row."""
    images, _ = draw_strokes(3, seed=5)
    save_png(tmp_path / "a.png", np.zeros((40, 40), np.uint8))
    save_png(tmp_path / "b" / "digit.png", images[0, 0])
    save_png(tmp_path / "two.png", np.pad(np.concatenate(list(images[1:, 0].numpy().repeat(4, 1).repeat(4, 2)), 1), 20))
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


def test_unlabelled_pictures_are_read_with_what_their_ink_says(drawings):
    images, objected = load_unlabelled(drawings)
    assert images.shape == (3, 1, 28, 28)
    assert objected.tolist() == [True, False, True]
    assert torch.equal(images[1], draw_strokes(1, seed=5)[0][0])


def test_eval_says_how_well_a_folder_is_told_from_digits(run_folder, drawings):
    command = ("eval", "--checkpoint", run_folder, "--dataset", "strokes", "--nondigits", drawings)
    found = json.loads(invoke(*command, "--json").stdout)["nondigits"]
    assert found["count"] == 3
    assert 2 / 3 <= found["auroc"] <= 1  # two of the three are below any digit
    assert [row["reject_rate"] for row in found["accepted"]] == list(RATES_SHOWN)
    assert found["accepted"][0]["accepted"] == 1
    assert f"{found['auroc']:.2%}" in invoke(*command).stdout
    assert json.loads(invoke(*command[:-2], "--json").stdout)["nondigits"] is None


def test_eval_wants_pictures(run_folder, tmp_path):
    command = ("eval", "--checkpoint", run_folder, "--dataset", "strokes", "--nondigits")
    assert "there are no pictures in it" in fail(*command, tmp_path, code=1)
    assert "there are no pictures in it" in fail(*command, tmp_path / "gone", code=1)
    (tmp_path / "bad.png").write_bytes(b"\x89PNG")
    assert "mend or remove" in fail(*command, tmp_path, code=1)
    assert "not for --suite" in fail("eval", "--suite", "--nondigits", tmp_path, code=2)


def test_a_network_of_many_feature_maps_reads_fewer_images_at_a_time(monkeypatch):
    sizes = []
    forward = DigitNet.forward
    monkeypatch.setattr(DigitNet, "forward", lambda self, images: sizes.append(len(images)) or forward(self, images))
    images = torch.randint(256, (260, 1, 28, 28), dtype=torch.uint8)
    for channels, expected in ((256, [250, 10]), (512, [125, 125, 10]), (25_600, [2] * 130)):
        model = build_model(CNNConfig(channels=(channels,), stride=14, pool="none"))
        assert logits_of(model, images).shape == (260, 10)
        assert sizes == expected
        sizes.clear()
