"""Attributes that the funnel does not declare are refused: no feature is made of them, nothing is dropped unsaid."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leadscore.api.problems import refused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from leadscore.history import Rules


def check_attributes(names: Iterable[str], rules: Rules, field: str) -> None:
    """Refuse an attribute that is not fixed at creation."""
    for name in names:
        if name not in rules.attributes:
            raise refused(f"{field}.{name}", f"must be declared in funnel.toml; {_among(rules.attributes)}")


def check_changing(name: str, rules: Rules, field: str) -> None:
    """Refuse an attribute that does not change."""
    if name not in rules.changing:
        raise refused(field, f"must be declared as changing in funnel.toml; {_among(rules.changing)}")


def _among(names: Iterable[str]) -> str:
    return f"declared are {', '.join(names) or 'none'}"
