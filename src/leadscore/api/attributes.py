"""Attributes that the funnel does not declare are refused: no feature is made of them, nothing is dropped unsaid."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from leadscore.history import Rules


def undeclared(name: str, rules: Rules) -> str | None:
    """The rule that an attribute of a lead breaks, where it is not declared fixed at creation."""
    if name in rules.attributes:
        return None
    return f"must be declared in funnel.toml; {_among(rules.attributes)}"


def unchanging(name: str, rules: Rules) -> str | None:
    """The rule that an attribute of a change breaks, where it is not declared to change."""
    if name in rules.changing:
        return None
    return f"must be declared as changing in funnel.toml; {_among(rules.changing)}"


def _among(names: Iterable[str]) -> str:
    return f"declared are {', '.join(names) or 'none'}"
