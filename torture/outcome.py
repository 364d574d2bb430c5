"""What an ordeal came to: each module beside this one holds ordeals, functions from trials and a seed to an Outcome."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How digitnet stood an ordeal."""

    name: str
    """Such as ``pictures``."""
    trials: int
    """How many were made."""
    failures: tuple[str, ...] = ()
    """What went wrong, a line each, enough to repeat it by; empty when all is well."""
    figures: dict[str, float] = field(default_factory=dict)
    """What was measured on the way, by a name with its unit, such as ``longest_s``."""
    elapsed_s: float

    @property
    def passed(self) -> bool:
        """Whether there were trials, and none of them failed."""
        return self.trials > 0 and not self.failures
