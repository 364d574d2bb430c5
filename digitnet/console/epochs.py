"""What was learnt when, for people: a line for each epoch, and strips of kernels and answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from digitnet.console.diagrams import encoding, print_lines, print_text, room
from digitnet.console.tables import print_columns, print_pairs

if TYPE_CHECKING:
    from digitnet.explain.training.epochs import History, Snapshot

KERNELS_SHOWN = 3
EPOCH_WIDTH = 7  # characters of the first column


def print_history(history: History, run: str, ascii_only: bool) -> None:
    """Show a run epoch by epoch."""
    snapshots, weights = history.snapshots, history.snapshots[-1].weights
    print_pairs(
        ("run", run), ("epochs", f"{len(snapshots) - 1}, and before them, as 0, the weights that the seed gives")
    )
    print()
    headings, widths = ("epoch", "valid. loss", "accuracy", "moved", "apart"), (EPOCH_WIDTH, 12, 10, 9, 9)
    print_columns(headings, history_rows(snapshots), widths)
    shape = " x ".join(map(str, weights.shape))
    print()
    print_text(f"moved: {history.first}.weight ({shape}), since the epoch before")
    print_text(f"apart: images that {history.hidden} puts nearest to the mean of their digit")
    print()
    print_text("What is answered, of one image of each digit")
    print_lines(answer_lines(snapshots))
    if history.snapshots[0].maps is not None:
        print()
        print_text(f"The strongest kernels of {history.first}, after some of the epochs")
        print_lines(kernel_lines(history, encoding(ascii_only)))


def history_rows(snapshots: tuple[Snapshot, ...]) -> list[tuple[str, ...]]:
    """Put each epoch into a row: its number, validation loss and accuracy, what moved, and what is apart."""
    return [
        (
            str(s.epoch),
            f"{s.validation_loss:.4f}",
            f"{s.validation_accuracy:.2%}",
            "" if s.moved is None else f"{s.moved:.1%}",
            f"{s.nearest_mean:.1%}",
        )
        for s in snapshots
    ]


def answer_lines(snapshots: tuple[Snapshot, ...]) -> list[str]:
    """Put what is answered to one image of each digit into a line for each epoch; a wrong answer stands in brackets."""
    width = 4 if room() >= EPOCH_WIDTH + 10 * 4 else 3  # "(7)" is as wide
    lines = [f"{'digit':<{EPOCH_WIDTH}}" + "".join(f"{digit:^{width}}" for digit in range(10))]
    for s in snapshots:
        answers = s.probs.argmax(1).tolist()
        cells = (f"{answer if answer == digit else f'({answer})':^{width}}" for digit, answer in enumerate(answers))
        lines.append(f"{s.epoch:<{EPOCH_WIDTH}}" + "".join(cells))
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
    shown = columns(snapshots, (room() + 2) // width)
    lines = ["".join(f"{s.epoch:<{width}}" for s in shown).rstrip()]
    for index in strongest(snapshots[-1].weights, KERNELS_SHOWN):
        most = max(float(s.weights[index].abs().max()) for s in shown)
        drawn = [draw_shades((s.weights[index].numpy() / most + 1) / 2, on) for s in shown]
        lines += ["  ".join(parts).rstrip() for parts in zip(*drawn, strict=True)]
        lines.append(f"kernel {index}: from -{most:.2f}, no ink, to {most:.2f}, most")
    return lines
