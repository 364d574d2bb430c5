"""The process that has torch in it: ``python -m benchmarks.worker PART OPTIONS``, with the answer as JSON on stdout.

``probe`` is the one that stays: it answers each line on stdin with a matrix product.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from benchmarks import training
from benchmarks.measure import Part
from benchmarks.product import matrix_product
from digitnet import __version__
from digitnet.data.load import load_digits, load_training
from digitnet.device import choose_device, choose_precision, keep_freed_memory
from digitnet.errors import DigitnetError

PARTS: dict[str, Callable[..., Part]] = {
    "loop": training.loop,
    "augment": training.augmentation,
    "width": training.width,
    "size": training.size,
    "gpu": training.gpu,
}


def probe(device_name: str) -> None:
    """Say what the machine is, then multiply whenever there is a line on stdin."""
    load_training("mnist")  # where it is missing, that is said before anything is measured
    device = choose_device(device_name)  # type: ignore[arg-type]  # one of argparse's choices
    on_gpu = device.type == "cuda"
    machine = {
        "digitnet": __version__,
        "torch": torch.__version__,
        "cuda": torch.version.cuda if on_gpu else None,
        "gpu": torch.cuda.get_device_name(device) if on_gpu else None,
        "device": device.type,
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "bf16_multiply": torch.cpu._is_avx512_bf16_supported(),
        "precision": str(choose_precision("auto", device)).removeprefix("torch."),
    }
    _answer(machine)
    cpu = torch.device("cpu")
    matrix_product(cpu, torch.float32, seconds=0.5)  # the first are slower
    for _ in sys.stdin:
        _answer(matrix_product(cpu, torch.float32, seconds=0.15))


def pictures(folder: str, count: int) -> None:
    """Write MNIST's first test images as PNG files, in a folder that is there."""
    digits = load_digits("mnist", "test")
    for i in range(count):
        name = f"{i:05}-{int(digits.targets[i])}.png"
        Image.fromarray(digits.images[i, 0].numpy()).save(Path(folder) / name)


def _report(part: Part) -> dict[str, Any]:
    figures = [{"name": one.name, "unit": one.unit, "values": one.values} for one in part.figures]
    return {"title": part.title, "figures": figures, "details": part.details, "products": part.products}


def _answer(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Do what the command line asks for; return the exit code."""
    name, options = sys.argv[1], json.loads(sys.argv[2])
    keep_freed_memory()  # as the commands do
    try:
        if name == "probe":
            probe(options["device"])
        elif name == "pictures":
            pictures(**options)
        else:
            device = choose_device(options.pop("device"))
            _answer(_report(PARTS[name](device, **options)))
    except DigitnetError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:  # whoever started us says it
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
