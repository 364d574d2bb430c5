"""digitnet: train, evaluate and use a classifier of handwritten digits.

Importing the package imports nothing heavy; ``digitnet.load`` brings in PyTorch when it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from digitnet.predictor import Classifier

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def load(path: str | Path | None = None) -> Classifier:
    """Load a trained classifier.

    Args:
        path: A checkpoint file, a run folder, the name of a run in ``checkpoints/`` or of a network that
            ships (``pretrained-cnn``, ``pretrained-mlp``). None takes the newest run in ``./checkpoints``, else
            ``pretrained-cnn``.

    Raises:
        CheckpointError: There is no such checkpoint, or it is not one of digitnet's.
    """
    from digitnet.predictor import Classifier

    return Classifier.load(path)
