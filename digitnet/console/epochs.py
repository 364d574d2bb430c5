"""What was learnt when, for people: a line for each epoch, and strips of kernels and answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from digitnet.console.diagrams import encoding, print_lines
from digitnet.console.tables import print_pairs

if TYPE_CHECKING:
    from digitnet.explain.training.epochs import History, Snapshot

KERNELS_SHOWN = 3
COLUMNS = 80


def print_history(history: History, run: str, ascii_only: bool) -> None:
    """Show a run epoch by epoch."""
    snapshots, weights = history.snapshots, history.snapshots[-1].weights
    print_pairs(
        ("run", run), ("epochs", f"{len(snapshots) - 1}, and before them, as 0, the weights that the seed gives")
    )
    print()
    print("\n".join(history_lines(snapshots)))
    shape = " x ".join(map(str, weights.shape))
    print(f"\nmoved: {history.first}.weight ({shape}), since the epoch before")
    print(f"apart: images that {history.hidden} puts nearest to the mean of their digit")
    print("\nWhat is answered, of one image of each digit")
    print_lines(answer_lines(snapshots))
    if history.snapshots[0].maps is not None:
        print(f"\nThe strongest kernels of {history.first}, after some of the epochs")
        print_lines(kernel_lines(history, encoding(ascii_only)))


def history_lines(snapshots: tuple[Snapshot, ...]) -> list[str]:
    """Put each epoch into a line of figures, under a heading."""
    lines = [f"{'epoch':<7}{'valid. loss':>12}{'accuracy':>10}{'moved':>9}{'apart':>9}"]
    for s in snapshots:
        moved = "" if s.moved is None else f"{s.moved:.1%}"
        lines.append(
            f"{s.epoch:<7}{s.validation_loss:12.4f}{s.validation_accuracy:10.2%}{moved:>9}{s.nearest_mean:9.1%}"
        )
    return lines


def answer_lines(snapshots: tuple[Snapshot, ...]) -> list[str]:
    """Put what is answered to one image of each digit into a line for each epoch; a wrong answer stands in brackets."""
    heading = f"{'digit':<7}" + "".join(f"{digit:^4}" for digit in range(10))
    lines = [heading]
    for s in snapshots:
        answers = s.probs.argmax(1).tolist()
        cells = (f"{answer if answer == digit else f'({answer})':^4}" for digit, answer in enumerate(answers))
        lines.append(f"{s.epoch:<7}" + "".join(cells))
    return lines


def kernel_lines(history: History, on: str | None) -> list[str]:
    """Draw the strongest kernels in shades, an epoch beside the other, as many as fit: the more ink, the larger.

    Args:
        history: Of a CNN.
        on: Encoding of the stream to draw on.
    """
    from digitnet.drawing import draw_shades
    from digitnet.explain.training.strips import columns, strongest

    snapshots = history.snapshots
    width = 2 * snapshots[0].weights.shape[2] + 2
    shown = columns(snapshots, COLUMNS // width)
    lines = ["".join(f"{s.epoch:<{width}}" for s in shown).rstrip()]
    for index in strongest(snapshots[-1].weights, KERNELS_SHOWN):
        most = max(float(s.weights[index].abs().max()) for s in shown)
        drawn = [draw_shades((s.weights[index].numpy() / most + 1) / 2, on) for s in shown]
        lines += ["  ".join(parts).rstrip() for parts in zip(*drawn, strict=True)]
        lines.append(f"kernel {index}: from -{most:.2f}, no ink, to {most:.2f}, most")
    return lines
