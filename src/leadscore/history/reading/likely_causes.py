"""Why an id is not that of a lead, or two ids are nearly the same: the likely cause, for the message."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import reduce
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from leadscore.history.reading.canonical import is_inexact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from leadscore.history.line import Int64s

    Fold = Callable[[str], str]

# So many different ids are compared with those of the leads.
MOST_IDS = 1_000
# What separates several ids in one field.
_SEPARATORS = re.compile(r"[;,|/\s]+")
_SALESFORCE = re.compile(r"[0-9A-Za-z]{15}(?:[0-9A-Za-z]{3})?").fullmatch
QUOTES = "\"'`\N{ACUTE ACCENT}\u2018\u2019\u201c\u201d"
_INVISIBLE = ("Cf", "Cc")


def normalised(text: str) -> str:
    """An id without what nobody sees: Unicode NFKC, no invisible characters, no spaces around it."""
    return unicodedata.normalize("NFKC", _without_invisible(text)).strip()


def _without_invisible(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(letter for letter in text if unicodedata.category(letter) not in _INVISIBLE)


def _salesforce(text: str) -> str:
    return text[:15] if _SALESFORCE(text) else text


def _without_fraction(text: str) -> str:
    return re.sub(r"^(-?[0-9]+)[.,]0+$", r"\1", text)


def _without_zeros(text: str) -> str:
    return text.lstrip("0") or text[-1:]


def _without_grouping(text: str) -> str:
    digits = re.sub(r"[\s.,'\u2019_]", "", text)
    return digits if digits.isdecimal() else text


def _without_marks(text: str) -> str:
    return re.sub(r"[-{}()]", "", text).casefold()


# Differences between an id and that of its lead, the likeliest first.
CAUSES: dict[str, Fold] = {
    "spaces, tabs or no-break spaces (NBSP) around the id": str.strip,
    "an invisible character in the id, such as a BOM or a zero-width space": _without_invisible,
    "the same letters in another Unicode form": lambda text: unicodedata.normalize("NFKC", text),
    "a whole number that became a floating-point number (1.0 for 1)": _without_fraction,
    "a Salesforce id of 15 characters in one table and of 18 in the other": _salesforce,
    "small against capital letters": str.casefold,
    "leading zeros that were lost or added": _without_zeros,
    "quotation marks or an apostrophe around the id": lambda text: text.strip(QUOTES),
    "separators between digits": _without_grouping,
    "braces or hyphens in the id": _without_marks,
}
SEVERAL_IDS = "several ids in one field, of which each needs a row"
SEVERAL_CAUSES = "more than one difference in how the id is written"


@dataclass(slots=True)
class LikelyCauses:
    """Likely causes why ids of a table are none of the leads'.

    Attributes
    ----------
    leads : Array of string
        Ids of the leads.
    """

    leads: pa.Array
    _is_known: bool = False

    def hints(self, ids: Sequence[str]) -> tuple[str, ...]:
        """A sentence with the causes that explain some of ``ids``, with an example of each; none where none does.

        The ids of one chunk of a table are enough: later calls return nothing, because each looks through all leads.
        """
        if self._is_known or not len(ids):
            return ()
        self._is_known = True
        causes = _likely_causes(list(ids)[:MOST_IDS], self.leads.to_pylist())
        likely = "; ".join(f"{cause}: {example}" for cause, example in causes)
        return (f"The likely cause is {likely}.",) if likely else ()


def _likely_causes(ids: list[str], leads: list[str]) -> tuple[tuple[str, str], ...]:
    causes: dict[str, str] = {}
    for cause, fold in (*CAUSES.items(), (SEVERAL_CAUSES, _all_folds)):
        if not ids:
            break
        wanted = {fold(text): text for text in reversed(ids)}
        meant = {folded: lead for lead in leads if (folded := fold(lead)) in wanted}
        if meant:
            folded, lead = next(iter(meant.items()))
            causes[cause] = f"{wanted[folded]!a} for {lead!a}"
            ids = [text for text in ids if fold(text) not in meant]
    return (*causes.items(), *_several(ids, leads))


def _several(ids: list[str], leads: list[str]) -> Iterator[tuple[str, str]]:
    lists = {text: parts for text in ids if len(parts := list(filter(None, _SEPARATORS.split(text)))) > 1}
    known = set(chain.from_iterable(lists.values())).intersection(leads)
    for text, parts in lists.items():
        if known.issuperset(parts):
            yield SEVERAL_IDS, f"{text!a} for {', '.join(map(ascii, parts))}"
            return


def _all_folds(text: str) -> str:
    return reduce(lambda folded, fold: fold(folded), (normalised, *CAUSES.values()), text)


def are_unclear(ids: Sequence[str]) -> bool:
    """Whether any of a few distinct ids has lost digits or looks like another; then they are refused."""
    return same_to_the_eye(ids) or any(map(is_inexact, ids))


def same_to_the_eye(ids: Sequence[str]) -> bool:
    """Whether any of a few distinct ids are one after `normalised`."""
    if "".join(ids).isascii() and all(text == text.strip() for text in ids):
        return False
    return len(set(map(normalised, ids))) < len(ids)


def look_alikes(ids: pa.Array) -> tuple[Int64s, tuple[str, ...]]:
    """Rows whose id is another's after `normalised`, and the ids of such pairs."""
    if not len(odd := _odd_ids(ids)):
        return np.empty(0, np.int64), ()
    folded = {text: normalised(text) for text in odd.to_pylist()}
    # Plain ids are their own normal form.
    plain = ids.filter(pc.is_in(ids, value_set=pa.array(set(folded.values()), pa.string()))).unique().to_pylist()
    groups: dict[str, list[str]] = {}
    for text in dict.fromkeys([*plain, *folded]):
        groups.setdefault(folded.get(text, text), []).append(text)
    pairs = [group for group in groups.values() if len(group) > 1]
    alike = pa.array(list(chain.from_iterable(pairs)), pa.string())
    rows = np.flatnonzero(pc.is_in(ids, value_set=alike).to_numpy(zero_copy_only=False))
    return rows, tuple(" and ".join(map(ascii, group)) for group in pairs)


def _odd_ids(ids: pa.Array) -> pa.Array:
    odd = pc.or_(pc.invert(pc.string_is_ascii(ids)), pc.not_equal(ids, pc.utf8_trim_whitespace(ids)))
    return ids.filter(odd).drop_null().unique()
