"""Answers for people: a line for each picture, and below it what the network saw."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from digitnet.drawing import describe, draw_digit, probability_text
from digitnet.errors import printable

if TYPE_CHECKING:
    from digitnet.numbers import NumberDigit, NumberPrediction
    from digitnet.pictures import Prepared
    from digitnet.predictor import Prediction


def prediction_line(answer: Prediction, top_k: int) -> str:
    """Put an answer into a line: the path, the digit, its probability and the runners-up; or why it is turned away."""
    if answer.reason is not None:
        return f"{printable(answer.path or '')}: turned away: {_reason(answer)}"
    runners_up = ", ".join(f"{digit} {probability_text(prob)}" for digit, prob in answer.top(top_k)[1:])
    then = f"  then {runners_up}" if runners_up else ""
    return f"{printable(answer.path or '')}: {answer.digit}  {probability_text(answer.confidence)}{then}"


def _reason(answer: Prediction) -> str:
    match answer.reason:
        case "blank" | "noise":
            return answer.reason
        case "several digits":
            return "several digits; --number reads them"
        case _:
            return f"not a digit (nearest {answer.digit}, {probability_text(answer.confidence)})"


def number_line(answer: NumberPrediction) -> str:
    """Put a number into a line of text: the path, the digits, a space between their lines, and the probability.

    Of one that is turned away, brackets are around the digits that are none: ``20[1]6``.
    """
    path = printable(answer.path or "")
    if answer.reason is not None:
        return f"{path}: turned away: {_number_reason(answer)}"
    return f"{path}: {answer.number}  {probability_text(answer.confidence)}"


def _number_reason(answer: NumberPrediction) -> str:
    if answer.reason in {"blank", "noise"}:
        return str(answer.reason)
    if not answer.number:
        return "nothing in it could be a digit"
    if len(answer.number) == 1:
        return f"not a digit (nearest {answer.number}, {probability_text(answer.confidence)})"
    marked = " ".join("".join(_marked(digit) for digit in line) for line in answer.lines)
    return f"not a digit, in brackets (nearest {marked})"


def _marked(digit: NumberDigit) -> str:
    return str(digit.digit) if digit.accepted else f"[{digit.digit}]"


def prepared_lines(prepared: Prepared) -> str:
    """Say what was done to a picture, and draw what the network saw, indented below its answer."""
    said = [] if prepared.steps is None else [describe(prepared.steps)]
    return "\n".join(f"  {line}" for line in [*said, *draw_digit(prepared.pixels, sys.stdout.encoding)])
