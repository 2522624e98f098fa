"""Where a page ended, as text that callers hand back."""

from __future__ import annotations

import base64
import binascii
import json

from leadscore.api.problems import refused
from leadscore.store import After


def cursor(run: int, after: After) -> str:
    """Text for the page after a row."""
    said = json.dumps([run, after.list, after.key, after.lead], separators=(",", ":"))
    return base64.urlsafe_b64encode(said.encode()).decode().rstrip("=")


def place_of(text: str) -> tuple[int, After]:
    """The run and the row that a cursor names.

    Raises
    ------
    ProblemError
        422, where it is none of ours.
    """
    try:
        said = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        run, of_list, key, lead = said
    except (ValueError, TypeError, binascii.Error):
        raise _bad() from None
    whole = all(type(each) is int and 0 <= each < 1 << 62 for each in (run, lead))
    if not whole or type(of_list) is not str or of_list not in {"handoff", "win"} or type(key) not in {int, float}:
        raise _bad()
    # A probability; what is no number at all is none either.
    if not 0 <= key <= 1:
        raise _bad()
    return run, After(of_list, float(key), lead)


def _bad() -> Exception:
    return refused("cursor", "must be the `next` of an earlier page")
