"""When training ends: after its epochs, or sooner by patience, an accuracy reached, or a time budget spent."""

from __future__ import annotations

import math
import time
from typing import Literal

from digitnet.config import TrainConfig
from digitnet.metrics import Metrics

StopReason = Literal["epochs", "patience", "until-accuracy", "time-budget"]


class Stopping:
    """When to stop: whichever rule of the configuration is met first."""

    def __init__(self, config: TrainConfig, started: float, *, lowest_loss: float = math.inf, waited: int = 0) -> None:
        """Begin at a reading of the monotonic clock, in seconds, and with what earlier epochs came to."""
        self._config = config
        self._started = started
        self.lowest_loss = lowest_loss
        """Of the validation images, over the epochs so far."""
        self.waited = waited
        """Epochs since then."""

    @property
    def elapsed_s(self) -> float:
        """Seconds since training began."""
        return time.monotonic() - self._started

    @property
    def out_of_time(self) -> bool:
        """Whether the time budget, if there is one, is spent."""
        budget = self._config.time_budget_s
        return budget is not None and self.elapsed_s >= budget

    def reason(self, validation: Metrics, *, last: bool) -> StopReason | None:
        """Say, once an epoch, why to stop after it."""
        self.waited = 0 if validation.loss < self.lowest_loss else self.waited + 1
        self.lowest_loss = min(self.lowest_loss, validation.loss)
        goal, patience = self._config.until_accuracy, self._config.patience
        if goal is not None and validation.accuracy >= goal:
            return "until-accuracy"
        if patience is not None and self.waited >= patience:
            return "patience"
        if self.out_of_time:
            return "time-budget"
        return "epochs" if last else None
