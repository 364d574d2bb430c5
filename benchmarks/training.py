"""The parts that run inside a process with torch: what a step of training costs, and what makes it cost more."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, get_args

import torch

from benchmarks.loop import Timed, configure, flops_per_image, load_data, timed_fit
from benchmarks.measure import Figure, Part, figure, ratio
from benchmarks.product import matrix_product, wait_for
from digitnet.config import AugmentName, CNNConfig
from digitnet.data.load import load_digits, load_training
from digitnet.device import choose_precision
from digitnet.engine import fit
from digitnet.evaluation import evaluate
from digitnet.losses import build_loss
from digitnet.models import place
from digitnet.progress import EpochResult
from digitnet.training import new_model

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def loop(device: torch.device, n: int) -> Part:
    """Time the preset fast n times, between matrix products in fp32 and bf16 on the same device."""
    data, config = load_data(device), configure("fast")
    flops = flops_per_image(config, data)
    timed_fit(config, data, device)  # untimed: what is slow only once in a process is in the whole process's time
    products = {dtype: [matrix_product(device, dtype)] for dtype in DTYPES.values()}
    runs: list[Timed] = []
    for seed in range(n):
        runs.append(timed_fit(configure("fast", seed), data, device))
        for dtype, found in products.items():
            found.append(matrix_product(device, dtype))
    fp32, bf16 = (_around(f"matrix product, {name}", products[dtype]) for name, dtype in DTYPES.items())
    steady = figure("training loop", "GFLOP/s", [run.images_per_s * flops / 1e9 for run in runs])
    whole = figure(
        "training loop, first steps included", "GFLOP/s", [run.images_per_s_all * flops / 1e9 for run in runs]
    )
    figures = (
        figure("training loop", "images/s", [run.images_per_s for run in runs]),
        figure("training loop, first steps included", "images/s", [run.images_per_s_all for run in runs]),
        steady,
        whole,
        fp32,
        bf16,
        ratio("training loop over matrix product in fp32", steady, fp32),
        ratio("training loop over matrix product in fp32, first steps included", whole, fp32),
        ratio("training loop over matrix product in bf16", steady, bf16),
    )
    details = {"flops_per_image": flops, "device": device.type, "batch_size": config.train.batch_size}
    return _part("training loop of --preset fast, in process", figures, products[torch.float32], **details)


def augmentation(device: torch.device, n: int, limit_s: float) -> Part:
    """Time the preset standard with each kind of augmentation in turns; what a kind adds to a step is its cost."""
    data = load_data(device)
    kinds = [str(kind) for kind in get_args(AugmentName)]
    configs = {kind: configure("standard", augment=kind) for kind in kinds}
    timed, products = _rounds(configs, n, device, lambda name: timed_fit(configs[name], data, device, limit_s))
    rates = {kind: [run.images_per_s for run in timed[kind]] for kind in kinds}
    figures = [figure(f"augment {kind}", "images/s", rates[kind]) for kind in kinds]
    for kind in kinds:
        if kind != "none":
            shares = [1 - with_it / without for with_it, without in zip(rates[kind], rates["none"], strict=True)]
            figures.append(figure(f"share of the step that augment {kind} takes", "share", shares))
    return _part("training loop of --preset standard, by augmentation", figures, products)


def width(device: torch.device, n: int, limit_s: float, factors: Sequence[int]) -> Part:
    """Time the preset fast with its channels multiplied, in turns."""
    data, base = load_data(device), configure("fast").model
    assert isinstance(base, CNNConfig)  # the preset's default kind
    wider = [tuple(factor * channels for channels in base.channels) for factor in factors]
    configs = {",".join(map(str, channels)): configure("fast", channels=channels) for channels in wider}
    flops = {name: flops_per_image(config, data) for name, config in configs.items()}
    timed, products = _rounds(configs, n, device, lambda name: timed_fit(configs[name], data, device, limit_s))
    figures = []
    for name, runs in timed.items():
        figures.append(figure(f"channels {name}", "images/s", [run.images_per_s for run in runs]))
        figures.append(figure(f"channels {name}", "GFLOP/s", [run.images_per_s * flops[name] / 1e9 for run in runs]))
    return _part("training loop of --preset fast, by width", figures, products, flops_per_image=flops)


def size(device: torch.device, n: int, sizes: Sequence[int]) -> Part:
    """Time one epoch of the preset fast on several numbers of images, in turns."""
    sets = {f"{count:,} images": load_data(device, count) for count in sizes}
    config = configure("fast", epochs=1)
    timed, products = _rounds(sets, n, device, lambda name: timed_fit(config, sets[name], device))
    figures = [figure(f"one epoch of {name}", "s", [run.seconds for run in runs]) for name, runs in timed.items()]
    return _part("training loop of --preset fast, by size of the data set", figures, products)


def gpu(device: torch.device, n: int) -> Part:
    """Train the preset fast on a GPU with the seeds 0 to n - 1, after one run to warm up; test each network afterwards.

    The clock runs over all that ``fit`` does, validation after each epoch included, and the copy of the best weights.
    """
    train, validation = (digits.to(device) for digits in load_training("mnist"))
    test = load_digits("mnist", "test").to(device)
    seconds, accuracies, products = [], [], []
    for seed in (0, *range(n)):
        config = configure("fast", seed).train
        dtype = choose_precision(config.precision, device)
        model = place(new_model(configure("fast", seed), train), device)
        products.append(matrix_product(device, torch.float32))
        started = time.perf_counter()
        for result in fit(model, train, validation, config, dtype):
            if isinstance(result, EpochResult) and result.best:
                best = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        wait_for(device)
        seconds.append(time.perf_counter() - started)
        model.load_state_dict(best)
        accuracies.append(evaluate(model, test, build_loss(config.loss)).accuracy)
    figures = [
        figure("training after warm-up, validation included", "s", seconds[1:]),
        figure("test accuracy of these runs", "share", accuracies[1:]),
        figure("the run that warmed up", "s", seconds[:1]),
    ]
    return _part("--preset fast on a GPU, in process", figures, products, seeds=list(range(n)))


def _rounds(
    names: Iterable[str], n: int, device: torch.device, run: Callable[[str], Timed]
) -> tuple[dict[str, list[Timed]], list[float]]:
    """Run each name once a round, n rounds after one that is not counted, with a matrix product before each run."""
    timed: dict[str, list[Timed]] = {name: [] for name in names}
    products = []
    for round_ in range(n + 1):
        for name, runs in timed.items():
            product, one = matrix_product(device, torch.float32), run(name)
            if round_:
                products.append(product)
                runs.append(one)
    return timed, products


def _around(name: str, products: Sequence[float]) -> Figure:
    """Return for each run the mean of the matrix products before and after it."""
    return figure(name, "GFLOP/s", [(a + b) / 2 for a, b in pairwise(products)])


def _part(title: str, figures: Sequence[Figure], products: Sequence[float], **details: Any) -> Part:
    return Part(title=title, figures=tuple(figures), details=details, products=tuple(products))
