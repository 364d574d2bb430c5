"""Each epoch's numbers for TensorBoard, which shows runs beside each other: ``tensorboard --logdir checkpoints``."""

from __future__ import annotations

from pathlib import Path

from digitnet.errors import DigitnetError
from digitnet.progress import EpochResult

try:
    from torch.utils.tensorboard import SummaryWriter
except ModuleNotFoundError as error:
    if (error.name or "").split(".")[0] != "tensorboard":
        raise
    raise DigitnetError(
        "--tensorboard needs tensorboard, which is missing; get it by: pip install tensorboard"
    ) from error


class ScalarLog:
    """An event file in a run folder."""

    def __init__(self, folder: Path, after: int | None = None) -> None:
        """Begin a file; of a run that goes on, what older files say of steps after one no longer counts."""
        self._writer = SummaryWriter(str(folder), purge_step=None if after is None else after + 1)

    def add(self, result: EpochResult) -> None:
        """Write the numbers of an epoch, by its step, so that runs of any batch size can be compared."""
        numbers = {
            "loss/train": result.train_loss,
            "loss/validation": result.validation.loss,
            "accuracy/train": result.train_accuracy,
            "accuracy/validation": result.validation.accuracy,
            "learning_rate": result.learning_rate,
            "images_per_s": result.images_per_s,
        }
        for name, number in numbers.items():
            self._writer.add_scalar(name, number, result.step)
        self._writer.flush()

    def __enter__(self) -> ScalarLog:
        """Write for as long as the context lasts."""
        return self

    def __exit__(self, *_: object) -> None:
        """Write what is left, and close the file."""
        self._writer.close()
