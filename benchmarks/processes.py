"""Whole processes, as a person waits for them: training from prompt to checkpoint, start-up, and many pictures."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.context import IMPORT_TORCH, Context, accuracy_on_test, digitnet, train
from benchmarks.measure import BenchmarkError, Ended, Figure, Part, difference, figure, ratio, run_checked

SHIPPED = ("--checkpoint", "pretrained-cnn")


def training(context: Context, n: int, preset: str) -> Part:
    """Train a preset n times, seeds 0 to n - 1, in turns with ``import torch``; test each network afterwards."""
    seeds = list(range(n))  # fixed before the first run: none is left out or chosen
    runs, floors = [], []
    for seed in seeds:
        floors.append(context.run(IMPORT_TORCH))
        runs.append(train(context, preset, seed))
    reports = [report for _, report in runs]
    accuracies = [accuracy_on_test(context, report["checkpoint"]) for report in reports]
    peak, floor = _peak("peak memory", [ended for ended, _ in runs]), _peak("peak memory of import torch", floors)
    figures = [
        figure("whole process, from prompt to saved checkpoint", "s", [ended.seconds for ended, _ in runs]),
        figure("training, validation included", "s", [report["total_s"] for report in reports]),
        figure("test accuracy of these runs", "share", accuracies),
        figure("import torch", "s", [ended.seconds for ended in floors]),
        peak,
        floor,
        ratio("peak memory over import torch", peak, floor),
    ]
    configs = {"config": reports[0]["config"], "precision": reports[0]["record"]["precision"]}
    return context.part(f"train --preset {preset}", figures, seeds=seeds, **configs)


def startup(context: Context, n: int) -> Part:
    """Time the short commands in turns: each round all of them, so that a slow spell of the machine meets each."""
    picture = _write_pictures(context, 1)[0]
    device = ("--device", context.device)
    commands = {
        "import torch": IMPORT_TORCH,
        "digitnet --help": digitnet("--help"),
        "predict of one picture": digitnet("predict", *SHIPPED, *device, picture),
        "eval of 10,000 test images": digitnet("eval", *SHIPPED, *device, "--dataset", "mnist"),
    }
    for command in commands.values():  # once untimed: files come from the disk only the first time
        run_checked(command, cwd=context.folder)
    rounds = [{name: context.run(command) for name, command in commands.items()} for _ in range(n)]
    ended = {name: [round_[name] for round_ in rounds] for name in commands}
    times = {name: figure(name, "s", [one.seconds for one in several]) for name, several in ended.items()}
    floor = times["import torch"]
    more = [difference(f"{name}, less import torch", times[name], floor) for name in list(commands)[2:]]
    # Help needs about as little memory as this process has, so its own could not be told.
    peaks = [_peak(f"{name}, peak memory", ended[name]) for name in commands if name != "digitnet --help"]
    return context.part("start-up, whole processes", [*times.values(), *more, *peaks])


def bulk(context: Context, n: int, sizes: Sequence[int]) -> Part:
    """Predict a short and a long list of 28x28 PNG files in turns; the difference of the two has no start-up in it."""
    small, large = sizes
    files = _write_pictures(context, min(large, 10_000))
    lists = {size: _write_list(context.folder / f"list-{size}", files, size) for size in sizes}
    ended: dict[int, list[Ended]] = {size: [] for size in sizes}
    rights = []
    for _ in range(n):
        for size in sizes:
            command = digitnet("predict", *SHIPPED, "--device", context.device, "--jsonl", "-")
            ended[size].append(context.run(command, stdin=lists[size]))
            rights.append(_share_right(ended[size][-1].stdout, size))
    pairs = list(zip(ended[small], ended[large], strict=True))
    rates = [(large - small) / (more.seconds - less.seconds) for less, more in pairs]
    peaks = {size: _peak(f"{size:,} files, peak memory", ended[size]) for size in sizes}
    figures = [
        figure("after start-up", "files/s", rates),
        figure(f"{large:,} files, whole process", "s", [more.seconds for _, more in pairs]),
        figure("read rightly", "share", rights),
        *peaks.values(),
        ratio("peak memory of the longer list over the shorter", peaks[large], peaks[small]),
    ]
    return context.part("predict --jsonl, 28x28 PNG files listed on stdin", figures, sizes=list(sizes))


def _peak(name: str, several: Sequence[Ended]) -> Figure:
    return figure(name, "MB", [ended.peak_mb for ended in several])


def _write_pictures(context: Context, count: int) -> list[str]:
    """Write MNIST's first test images as PNG files, each with its digit last in its name; return their paths."""
    folder = context.folder / f"pictures-{count}"
    folder.mkdir(exist_ok=True)
    options = json.dumps({"folder": str(folder), "count": count})
    run_checked((sys.executable, "-m", "benchmarks.worker", "pictures", options), cwd=context.folder)
    return sorted(map(str, folder.iterdir()))


def _write_list(path: Path, files: Sequence[str], size: int) -> Path:
    """Write a list of so many files, which come again when there are fewer."""
    path.write_text("".join(f"{files[i % len(files)]}\n" for i in range(size)))
    return path


def _share_right(stdout: bytes, size: int) -> float:
    """Return the share of answers that are the digit in the file's name; a missing one is no fast answer."""
    answers = [json.loads(line) for line in stdout.splitlines()]
    if len(answers) != size or any("error" in answer for answer in answers):
        raise BenchmarkError(f"predict answered {len(answers):,} of {size:,} files, or could not read some")
    return sum(Path(answer["path"]).stem[-1] == str(answer["digit"]) for answer in answers) / size
