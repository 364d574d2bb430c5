"""What a person can cause and mend: every error that digitnet reports in one plain line.

Each class carries the exit code that the command line ends with. A bug is none of these and keeps its
traceback.
"""


class DigitnetError(Exception):
    """Something failed for a reason the person can act on; the message says what, where and what to do."""

    exit_code = 1
    told = False
    """Whether another process of the same launch says so, too, and this one need not."""


class UsageError(DigitnetError):
    """The options do not make sense, or contradict each other."""

    exit_code = 2


class DataError(DigitnetError):
    """A data set is missing, damaged or not what it is said to be."""


class CheckpointError(DigitnetError):
    """A checkpoint is missing, damaged, or not one of ours."""


class PictureError(DigitnetError):
    """A picture could not be read, or holds nothing to read."""

    exit_code = 3


class BlankError(PictureError):
    """A picture was read, and no ink stands out from its paper."""


class NoiseError(BlankError):
    """A picture holds no ink, but noise all over."""


class ThresholdError(DigitnetError):
    """A threshold that the person asked for was missed."""

    exit_code = 4


class NotFiniteError(DigitnetError):
    """The numbers of a training went wrong: its loss, or a weight, is infinite or no number at all."""


class LaunchError(DigitnetError):
    """Processes that were launched together cannot go on together; all of them end, and the first says why."""


class AbsentError(LaunchError):
    """The first process is not there to say why."""


class InterruptedRunError(DigitnetError):
    """A training was asked by a signal to stop, and did; ``exit_code`` is the instance's, as a shell says it."""

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal


def brief(text: object, limit: int = 300) -> str:
    """Cut what a file says, which may be a million characters, to what a message has room for."""
    shown = str(text)
    return shown if len(shown) <= limit else f"{shown[:limit]}..."


def printable(text: object) -> str:
    r"""Show control characters and broken bytes as escapes, so that a file's name cannot steer a terminal: ``\x1b``."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
