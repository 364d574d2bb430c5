"""Devices, precision and seeds follow from what is asked for and what is there."""

import hashlib

import pytest
import torch

from digitnet import device as module
from digitnet.device import choose_device, choose_precision, derive_seed, generator
from digitnet.errors import UsageError

CPU = torch.device("cpu")
PINNED = 7_869_624_158_837_258_281


def machine(monkeypatch, *, cuda=False, mps=False):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(("cuda", "mps", "expected"), [
    (False, False, "cpu"), (True, False, "cuda"), (False, True, "mps"), (True, True, "cuda"),
])  # fmt: skip
def test_auto_takes_a_gpu_where_there_is_one(monkeypatch, cuda, mps, expected):
    machine(monkeypatch, cuda=cuda, mps=mps)
    assert choose_device("auto") == torch.device(expected)
    assert choose_device("cpu") == CPU
    assert choose_device(expected) == torch.device(expected)


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_a_missing_device_is_said_in_words(monkeypatch, name):
    machine(monkeypatch)
    with pytest.raises(UsageError, match=f"this machine has no {name} device.*--device auto"):
        choose_device(name)


def test_precision_is_as_asked_for():
    assert choose_precision("fp32", CPU) == torch.float32
    assert choose_precision("bf16", CPU) == torch.bfloat16


@pytest.mark.parametrize("there", [True, False])
def test_auto_takes_bf16_where_the_hardware_has_it(monkeypatch, there):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: there)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0) if there else (7, 5))
    expected = torch.bfloat16 if there else torch.float32
    assert choose_precision("auto", CPU) == expected
    assert choose_precision("auto", torch.device("cuda")) == expected
    assert choose_precision("auto", torch.device("mps")) == torch.float32


def test_a_seed_is_a_hash_of_its_three_parts():
    text = "7/3/order"
    assert derive_seed(7, 3, "order") == int(hashlib.sha256(text.encode()).hexdigest()[:16], 16) // 2
    assert derive_seed(0, 1, "order") == PINNED  # other versions and machines shuffle alike


def test_seeds_differ_by_each_part_and_fit_torch():
    seeds = [derive_seed(s, e, p) for s in (0, 1, 11, 2**63 - 1) for e in (0, 1, 11) for p in ("order", "augment")]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_generator_is_its_own():
    first = torch.rand(4, generator=generator(1, 2, "order", CPU))
    torch.manual_seed(0)
    assert torch.equal(torch.rand(4, generator=generator(1, 2, "order", CPU)), first)
    assert not torch.equal(torch.rand(4, generator=generator(1, 2, "augment", CPU)), first)
    assert torch.rand(1).item() == pytest.approx(0.4962566)  # the global one was not drawn from
    assert module.generator(1, 2, "order", CPU).device == CPU
