"""Python's search for garbage, which takes long where a million small things lie about."""

from __future__ import annotations

import gc

# Of the three ages of what was made: Python's own settings look all the time.
THRESHOLDS = 20_000, 20, 100


def look_seldom() -> None:
    """Look for garbage seldom, and never again in what is there now."""
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
