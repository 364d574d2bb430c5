"""One step of training on the toy network, whole: from the batch to the update, and the same step by every rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from digitnet.config import ActivationName, LossName, TrainConfig
from digitnet.data.digits import Digits
from digitnet.explain.step import toy
from digitnet.explain.step.rules import Update, take_step
from digitnet.explain.step.toy import Arrays, Batch, Check, Forward, Gradients


@dataclass(frozen=True, kw_only=True)
class StepExplanation:
    """What happens in one step."""

    seed: int
    activation: ActivationName
    loss_name: LossName
    batch: Batch
    parameters: Arrays
    """Before the step."""
    forward: Forward
    gradients: Gradients
    check: Check
    update: Update
    """By the rule that was asked for."""
    rules: tuple[Update, ...]
    """The same step by every rule."""


def explain_step(
    digits: Digits, config: TrainConfig, others: Sequence[TrainConfig], activation: ActivationName
) -> StepExplanation:
    """Take one step of training and keep all of it.

    Args:
        digits: Where the batch is taken from.
        config: Seed, loss, optimizer and learning rate of the step; one of ``others``, or beside them.
        others: The rules to take the same step by.
        activation: Between the two layers.

    Raises:
        DataError: There is no image of one of the classes.
    """
    batch = toy.take_batch(digits, config.seed)
    parameters = toy.draw_parameters(config.seed)
    done = toy.forward(parameters, batch, activation, config.loss)
    gradients = toy.backward(parameters, batch, done, activation, config.loss)
    return StepExplanation(
        seed=config.seed,
        activation=activation,
        loss_name=config.loss,
        batch=batch,
        parameters=parameters,
        forward=done,
        gradients=gradients,
        check=toy.check_gradients(parameters, batch, gradients.parameters, activation, config.loss),
        update=take_step(config, parameters, gradients.parameters, batch, activation),
        rules=tuple(take_step(other, parameters, gradients.parameters, batch, activation) for other in others),
    )
