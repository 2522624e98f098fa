"""Which names have a code of their own; fixed at training and carried by the model."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from leadscore.history.reading.canonical import category_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from leadscore.history.line import Int16s, Int32s

    IntegerCodes = Int16s | Int32s

Code = TypeVar("Code", np.int16, np.int32)

OTHER = "__other__"
MISSING = "__missing__"


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Names in order of their codes.

    A name that is not in its list has the code of `OTHER`, a missing one that of `MISSING`.

    Attributes
    ----------
    kinds : tuple of str
        Kinds of touch.
    agents : tuple of str
        Who on our side.
    categories : dict of str to tuple of str
        Values of each attribute that is a category.
    """

    kinds: tuple[str, ...]
    agents: tuple[str, ...]
    categories: dict[str, tuple[str, ...]] = field(default_factory=dict)


def names_of(seen: Iterable[str]) -> tuple[str, ...]:
    """A list of a vocabulary: the names in alphabetical order, then `OTHER` and `MISSING`."""
    return (*sorted(set(seen) - {OTHER, MISSING}), OTHER, MISSING)


def kinds_of(seen: Iterable[str]) -> tuple[str, ...]:
    """The kinds of a vocabulary: in alphabetical order, then `OTHER`. No touch is without a kind."""
    return names_of(seen)[:-1]


def canonical_names(names: Iterable[str]) -> tuple[str, ...]:
    """A list of a vocabulary that older versions wrote, with the names that values have now.

    Of two names that have become one the first keeps its code. The code of the other stays, too, under a name that
    no value has any more, so that later codes do not move.
    """
    before: dict[str, str] = {}
    now = []
    for name in names:
        text = category_text(name) or name
        variant = before.setdefault(text, name)
        now.append(text if text not in now else name if name != text else variant)
    return tuple(now)


def recode(
    codes: IntegerCodes, before: tuple[str, ...], after: tuple[str, ...], dtype: type[Code]
) -> npt.NDArray[Code]:
    """Codes in the list ``after`` of names coded in the list ``before``; -1 is missing."""
    place = _places(after)
    other = place.get(OTHER, -1)
    moved = [place.get(name, other) for name in before]
    moved.append(place.get(MISSING, -1))
    return np.array(moved, dtype)[codes]


@lru_cache(maxsize=64)
def _places(names: tuple[str, ...]) -> dict[str, int]:
    """The code of each name: kept, because a model codes one lead after another in the same lists."""
    return {name: code for code, name in enumerate(names)}
