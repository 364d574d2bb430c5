"""Ctrl-C and SIGTERM while a network trains: the first asks training to stop when it is ready, the second ends it."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from types import FrameType
from typing import Any

from digitnet.errors import InterruptedRunError
from digitnet.launch import read_launch

SIGNALS = (signal.SIGINT, signal.SIGTERM)
CLEAR_BAR = b"\r\x1b[2K"  # which draws itself anew below what is written in its place
SHOW_CURSOR = b"\x1b[?25h"  # which it hides
SOON = b"Finishing this step, and saving; a second Ctrl-C ends at once.\n"
AT_ONCE = b"error: ended at once; the state saved last is there to go on from\n"
GRACE_S = 0.3  # timeout(1) and some shells signal twice, and a finger bounces


class Interruption:
    """Takes the two signals over for as long as the context lasts."""

    def __init__(self, *, launched: bool = False) -> None:
        """Say whether a launcher may pass a signal on that the terminal has sent, too: a second one means nothing."""
        self._launched = launched
        self._signal: int | None = None
        self._came_s = 0.0
        self._armed = False
        self._before: dict[int, Any] = {}

    def poll(self) -> int | None:
        """Return which signal has come, 2 or 15, or None; before this is first asked, the first signal ends all."""
        self._armed = True
        return self._signal

    def __enter__(self) -> Interruption:
        """Take the signals over but for one that is ignored, as Ctrl-C is by what a script starts with ``&``."""
        heeded = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._handle) for number in heeded}
        return self

    def __exit__(self, *_: object) -> None:
        """Give them back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self._signal is not None:
            if self._launched or time.monotonic() - self._came_s < GRACE_S:
                return
            with suppress(OSError):
                os.write(2, (CLEAR_BAR + SHOW_CURSOR) * sys.stderr.isatty() + AT_ONCE)
            os._exit(128 + number)  # whatever is under way
        self._signal, self._came_s = number, time.monotonic()
        if not self._armed:
            raise InterruptedRunError("interrupted", number)
        if sys.stderr.isatty() and read_launch().is_first:
            with suppress(OSError):
                os.write(2, CLEAR_BAR + SOON)
