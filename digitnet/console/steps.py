"""A step of training for people: every number of it, in the order in which it is computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from digitnet.console.diagrams import (
    beside,
    column,
    encoding,
    matrix,
    number,
    print_beside,
    print_lines,
    print_text,
    print_wrapped,
    room,
)
from digitnet.console.tables import print_columns, wrapped
from digitnet.drawing import draw_digit, fixed

if TYPE_CHECKING:
    from digitnet.config import LossName
    from digitnet.explain.step.calculus import Array
    from digitnet.explain.step.steps import StepExplanation
    from digitnet.explain.step.toy import Batch

LOSSES: dict[LossName, tuple[str, str]] = {  # what P is, and what is added up for each image
    "cross-entropy": ("softmax(S): exp(S), divided by its row's sum", "-log(p of the target)"),
    "bce": (
        "sigmoid(S) = 1 / (1 + exp(-S)), each on its own",
        "the sum of -log(p) where y is 1, and -log(1 - p) where it is 0",
    ),
    "mse": ("softmax(S): exp(S), divided by its row's sum", "the sum of (p - y)^2"),
    "mae": ("softmax(S): exp(S), divided by its row's sum", "the sum of |p - y|"),
}
LOGIT_RULES: dict[LossName, tuple[str, ...]] = {
    "cross-entropy": (
        "dP = -1 / (3 p) at the target, else 0. Through softmax, most of it cancels:",
        "dS = (P - Y) / 3",
    ),
    "bce": (
        "dP = -1 / (3 p) where y is 1, else 1 / (3 (1 - p)).",
        "Through sigmoid, dS = dP * p (1 - p), of which most cancels: dS = (P - Y) / 3",
    ),
    "mse": ("dP = 2 (P - Y) / 3, and through softmax", "dS = P * (dP - the row's sum of P * dP)"),
    "mae": ("dP = sign(P - Y) / 3, and through softmax", "dS = P * (dP - the row's sum of P * dP)"),
}
SLOPES = {
    "relu": "1 where Z is above 0, else 0",
    "gelu": "Phi(Z) + Z phi(Z), of the normal distribution",
    "silu": "s (1 + Z (1 - s)), where s = sigmoid(Z)",
    "tanh": "1 - H^2",
    "sigmoid": "H (1 - H)",
    "identity": "1",
}
RULES = {
    "plain": ("W -= learning_rate * g",),
    "sgd": ("v = momentum v + g", "W -= learning_rate * (g + momentum v)"),
    "rmsprop": ("v = 0.99 v + 0.01 g^2", "W -= learning_rate * g / (sqrt(v) + 1e-8)"),
    "adagrad": ("v = v + g^2", "W -= learning_rate * g / (sqrt(v) + 1e-10)"),
    "adadelta": (
        "v = 0.9 v + 0.1 g^2,  d = g sqrt(u + 1e-6) / sqrt(v + 1e-6)",
        "W -= learning_rate * d,  u = 0.9 u + 0.1 d^2",
    ),
    "adam": (
        "m = 0.9 m + 0.1 g,  v = 0.999 v + 0.001 g^2",
        "W -= learning_rate * (m / (1 - 0.9)) / (sqrt(v / (1 - 0.999)) + 1e-8)",
    ),
    "adamw": (
        "W -= learning_rate * weight_decay * W  (weights, not biases), and as adam:",
        "m = 0.9 m + 0.1 g,  v = 0.999 v + 0.001 g^2",
        "W -= learning_rate * (m / (1 - 0.9)) / (sqrt(v / (1 - 0.999)) + 1e-8)",
    ),
}


def print_step(step: StepExplanation, ascii_only: bool) -> None:
    """Show a step: the batch, forward, backward, what checks the gradients, the update, and every rule."""
    _print_batch(step.batch, ascii_only)
    _print_forward(step)
    _print_backward(step)
    _print_check(step)
    _print_update(step)
    _print_rules(step)


def _heading(text: str) -> None:
    lines = wrapped(text, 0)
    print(f"\n{lines}\n{'-' * max(map(len, lines.splitlines()))}")


def _print_batch(batch: Batch, ascii_only: bool) -> None:
    digits = ", ".join(map(str, batch.digits))
    print_text(f"One step of training on three images of {batch.dataset}: {digits}. Rows are images.")
    _heading("The batch: X (3 x 4), the mean of each quarter, and the targets Y (3 x 3)")
    drawings = [draw_digit(np.array(image, dtype=np.uint8), encoding(ascii_only)) for image in batch.images]
    print_beside(*drawings, gap="    ")
    _print_named(("X", batch.inputs), ("Y", batch.targets))


def _print_named(*named: tuple[str, Array]) -> None:
    """Print matrices, and vectors as columns, each with its name: beside each other as far as there is room."""
    print_beside(*(_named(name, values) for name, values in named), gap="   ")


def _named(name: str, values: Array) -> list[str]:
    """Draw a matrix or a vector with its name before it, or above it where there is no room before it."""
    drawn = matrix(values.tolist()) if values.ndim == 2 else column(values.tolist())
    lines = beside(f"{name} =", drawn)
    return lines if max(map(len, lines)) <= room() else [f"{name} =", *drawn]


def _print_sum(name: str, terms: Sequence[tuple[float, float]], result: float, bias: float | None = None) -> None:
    """Write a sum of products out, so that one number of each kind can be checked by hand."""
    written = " + ".join(f"{number(a)} * {number(b)}" for a, b in terms)
    ending = "" if bias is None else f" + {number(bias)}"
    line = f"{name} = {written}{ending} = {number(result)}".replace("+ -", "- ")
    print_wrapped(line, 4)


def _print_forward(step: StepExplanation) -> None:
    values, done, x = step.parameters, step.forward, step.batch.inputs
    _heading("Forward 1, a dense layer: Z = X W1^T + b1")
    _print_named(("W1", values["W1"]), ("b1", values["b1"]), ("Z", done.sums))
    _print_sum("Z[1,1]", list(zip(values["W1"][0], x[0], strict=True)), done.sums[0, 0], values["b1"][0])
    _heading(f"Forward 2, the activation: H = {step.activation}(Z)")
    _print_named(("H", done.hidden))
    _heading("Forward 3, a dense layer: S = H W2^T + b2, the logits")
    _print_named(("W2", values["W2"]), ("b2", values["b2"]), ("S", done.logits))
    _print_sum("S[1,1]", list(zip(values["W2"][0], done.hidden[0], strict=True)), done.logits[0, 0], values["b2"][0])
    outputs, summed = LOSSES[step.loss_name]
    _heading(f"The loss: {step.loss_name}")
    print_lines([f"P = {outputs}"])
    _print_named(("P", done.probs), ("Y", step.batch.targets), ("of each image", done.image_losses))
    print_lines([f"Of each image: {summed}.", f"Their mean is the loss, {done.loss:.6f}."])


def _print_backward(step: StepExplanation) -> None:
    values, done, g = step.parameters, step.forward, step.gradients
    _heading("Backward: from the loss to each number, by the chain rule")
    print_lines(["dS is the derivative of the loss by each number of S, and so on.", *LOGIT_RULES[step.loss_name]])
    _print_named(("dP", g.probs), ("dS", g.logits))
    print_lines(["", "dW2 = dS^T H, db2 = the column sums of dS"])
    _print_named(("dW2", g.parameters["W2"]), ("db2", g.parameters["b2"]))
    _print_gradient_sum("dW2", g.parameters["W2"], g.logits, done.hidden)
    print_lines(["", "dH = dS W2"])
    _print_named(("dH", g.hidden))
    _print_sum("dH[1,1]", list(zip(g.logits[0], values["W2"][:, 0], strict=True)), g.hidden[0, 0])
    print_lines(["", f"dZ = dH * {step.activation}'(Z), which is {SLOPES[step.activation]}"])
    _print_named((f"{step.activation}'(Z)", g.slopes), ("dZ", g.sums))
    print_lines(["", "dW1 = dZ^T X, db1 = the column sums of dZ"])
    _print_named(("dW1", g.parameters["W1"]), ("db1", g.parameters["b1"]))
    _print_gradient_sum("dW1", g.parameters["W1"], g.sums, step.batch.inputs)


def _print_gradient_sum(name: str, gradient: Array, outputs: Array, inputs: Array) -> None:
    row, place = largest(gradient)
    terms = list(zip(outputs[:, row], inputs[:, place], strict=True))
    _print_sum(f"{name}[{row + 1},{place + 1}]", terms, gradient[row, place])


def largest(values: Array) -> tuple[int, int]:
    """Find the number that is furthest from 0, for an example: a row and a column from 0."""
    row, place = np.unravel_index(np.abs(values).argmax(), values.shape)
    return int(row), int(place)


def _print_check(step: StepExplanation) -> None:
    check, found = step.check, step.gradients.parameters
    _heading("Three ways to the same gradients, and the update")
    rows = []
    for name, values in step.parameters.items():
        for place in np.ndindex(values.shape):
            label = f"{name}[{','.join(str(i + 1) for i in place)}]"
            ways = (found[name], check.autograd[name], check.differences[name], step.update.parameters[name])
            rows.append((label, f"{values[place]:.1f}", *(fixed(float(way[place]), 8) for way in ways)))
    headings = ("", "value", "chain rule", "autograd", "finite diff.", "updated")
    print_columns(headings, rows, (8, 8, 14, 14, 14, 14), indent=2)
    print_text("finite diff.: (loss at value + 0.00001 - loss at value - 0.00001) / 0.00002", indent=2)
    print_text(
        f"The chain rule is off autograd by {number(check.autograd_error)} at most, and off the",
        f"differences by {number(check.differences_error)}.",
        indent=2,
    )


def _print_update(step: StepExplanation) -> None:
    update = step.update
    place = largest(step.gradients.parameters["W1"])
    before, gradient, change, after = (
        number(values["W1"][place])
        for values in (step.parameters, step.gradients.parameters, update.changes, update.parameters)
    )
    settings = "".join(f", {name} {_setting(value)}" for name, value in update.settings.items())
    _heading(f"The update: {update.optimizer}, learning rate {number(update.learning_rate)}{settings}")
    print_lines(RULES[update.optimizer])
    if update.optimizer != "plain":
        print_lines(["g is the gradient. What is remembered, v and the like, is 0 before this step."])
    print_lines(
        [
            f"W1[{place[0] + 1},{place[1] + 1}]    {before}, with a gradient of {gradient}, changes by {change}",
            f"           to {after}",
            f"loss       {step.forward.loss:.6f} before, {update.loss:.6f} after",
        ]
    )
    before_probs, after_probs = (np.diag(probs).tolist() for probs in (step.forward.probs, update.probs))
    print_lines(
        [
            f"{'p' if first else '':<11}of the {digit}: {one:.6f} before, {other:.6f} after"
            for first, digit, one, other in zip((1, 0, 0), step.batch.digits, before_probs, after_probs, strict=True)
        ]
    )


def _print_rules(step: StepExplanation) -> None:
    _heading("The same step by every rule, each with the settings that train gives it")
    names = {name: largest(step.gradients.parameters[name]) for name in ("W1", "W2")}
    examples = (f"{name}[{row + 1},{place + 1}] by" for name, (row, place) in names.items())
    rows = []
    for rule in step.rules:
        changes = (number(rule.changes[name][place]) for name, place in names.items())
        ending = (f"{rule.loss:.6f}", number(rule.error))
        rows.append((rule.optimizer, number(rule.learning_rate), *changes, *ending))
    headings = ("rule", "rate", *examples, "loss after", "off PyTorch")
    print_columns(headings, rows, (10, 7, 14, 14, 13, 14), indent=2)
    print_text("off PyTorch: the largest difference of a parameter from PyTorch's own result", indent=2)
    print_text(
        "At the first step, adagrad and adam divide a gradient by its own size, and",
        "rmsprop by a tenth of it: a large one moves its weight no further than a small",
        "one.",
        indent=2,
    )


def _setting(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
