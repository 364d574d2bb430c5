"""What training yields while it runs: steps, epochs, states to save. The loop is in ``engine.py``."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from digitnet.metrics import Metrics
from digitnet.state import TrainingState
from digitnet.stopping import StopReason


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """Where training is, some twenty times an epoch."""

    epoch: int
    epochs: int
    """How many there will be, if nothing stops training sooner."""
    step: int
    """Updates so far, over all epochs."""
    total_steps: int
    learning_rate: float
    """Of this step."""
    loss: float | None
    """Mean training loss of the epoch so far; None until a GPU has sent the first."""
    counted: int
    """Images of the epoch that this is the mean of."""
    images_per_s: float
    elapsed_s: float


@dataclass(frozen=True, kw_only=True)
class EpochResult:
    """What an epoch came to."""

    epoch: int
    epochs: int
    step: int
    learning_rate: float
    """Of the last step."""
    train_loss: float
    """Mean over the epoch's steps, as the network changed; of augmented images, with dropout, and with the
    telling of digits from the rest where there are images of the rest."""
    train_accuracy: float
    """Likewise, of the digits alone."""
    validation: Metrics
    logits: Tensor = field(repr=False, compare=False)
    """Of the validation images, (N, 10) float32, on their device."""
    best: bool
    """Whether this epoch is the one to keep so far: the last whose validation accuracy is within a standard error of
    the highest before it. A difference so small says little, and most schedules end at their lowest rate. With a
    patience, which is there to stop before the network learns its images by heart, it is the highest itself."""
    images_per_s: float
    elapsed_s: float
    """Since training began, validation included."""
    stop: StopReason | None
    """Why training ends with this epoch; None when it goes on."""
    whole: bool = True
    """Whether it passed over all training images; steps and a time budget may cut it short."""


@dataclass(frozen=True, kw_only=True)
class StateResult:
    """All that training needs to go on from here, to the bit: after an epoch, and where the caller asked for it."""

    state: TrainingState


@dataclass(frozen=True, kw_only=True)
class RollbackResult:
    """Numbers went wrong, and training goes on from the last good state, at half the learning rate."""

    reason: str
    """What went wrong, where, and at which rate."""
    step: int
    """That training goes on from."""
    factor: float
    """What the schedule's rates are multiplied by from here on."""


Result = StepResult | EpochResult | StateResult | RollbackResult
