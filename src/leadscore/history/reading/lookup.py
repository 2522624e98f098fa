"""Texts to numbers: a hash of each, and its place among others.

Arrow's own lookup builds its table again for every chunk, which for a million leads costs more than the rest of
the reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from leadscore.history.line import Int64s

UInt64s = npt.NDArray[np.uint64]

WORD = 8
FEW = 100
# Odd and without pattern: the fractional part of the golden ratio.
FACTOR = np.uint64(0x9E3779B97F4A7C15)
LAST = np.uint64(2**64 - 1)
HALF = np.uint64(32)
# The first n bytes of a word that was read from the left.
LETTERS = np.array([(1 << (8 * n)) - 1 for n in range(WORD + 1)], np.uint64)


def hashes(text: pa.Array) -> UInt64s:
    """A number for each text, shape (n,): equal for equal texts, almost never for others; 0 where empty or null."""
    edge, letters = _letters(text)
    begin, left = edge[:-1], np.diff(edge)
    if text.null_count:
        left = np.where(text.is_valid().to_numpy(zero_copy_only=False), left, 0)
    hashed = left.astype(np.uint64)
    rows = np.flatnonzero(left)
    begin, left = begin[rows], left[rows]
    # Eight letters of all texts at a time, as one number each.
    words = np.ndarray((len(letters) - WORD + 1,), "<u8", letters, strides=(1,))
    some = hashed[rows]
    while len(rows):
        word = words[begin] & LETTERS[np.minimum(left, WORD)]
        some = (some ^ word) * FACTOR
        some ^= some >> HALF
        hashed[rows] = some
        longer = left > WORD
        if longer.all():
            begin, left = begin + WORD, left - WORD
        else:
            rows, some = rows[longer], some[longer]
            begin, left = begin[longer] + WORD, left[longer] - WORD
    return hashed


def _letters(text: pa.Array) -> tuple[Int64s, npt.NDArray[np.uint8]]:
    _, offsets, buffer = text.buffers()
    if not len(text) or buffer is None:
        return np.zeros(len(text) + 1, np.int64), np.zeros(WORD, np.uint8)
    edge = np.frombuffer(offsets, np.int32)[text.offset : text.offset + len(text) + 1].astype(np.int64)
    letters = np.frombuffer(buffer, np.uint8)
    if edge[-1] + WORD > len(letters):  # the last word must not be read past the end
        letters = np.concatenate((letters[edge[0] : edge[-1]], np.zeros(WORD, np.uint8)))
        edge -= edge[0]
    return edge, letters


@dataclass(frozen=True, slots=True)
class Places:
    """Where texts stand among distinct ones.

    Attributes
    ----------
    texts : Array of string, shape (n,)
    hashed : ndarray of uint64, shape (n + 1,)
        Their hashes, ascending, and the largest there can be, where every search ends.
    place : ndarray of int64, shape (n + 1,)
        Which text each hash is of; -1 at the end.
    bucket : ndarray of int64
        First of the hashes that begin with some bits.
    shift : uint64
        How far to shift a hash so that these bits are left.
    """

    texts: pa.Array
    hashed: UInt64s
    place: Int64s
    bucket: Int64s
    shift: np.uint64

    @classmethod
    def of(cls, texts: pa.Array) -> Places:
        """Build the table, once for all chunks."""
        if len(texts) < FEW:
            nothing = np.empty(0, np.int64)
            return cls(texts, nothing.astype(np.uint64), nothing, nothing, np.uint64(0))
        unsorted = hashes(texts)
        place = np.argsort(unsorted)
        hashed = unsorted[place]
        bits = max(len(texts), 2).bit_length()
        shift = np.uint64(64 - bits)
        bucket = hashed.searchsorted(np.arange(1 << bits, dtype=np.uint64) << shift)
        return cls(texts, np.append(hashed, LAST), np.append(place, -1), bucket, shift)

    def find(self, texts: pa.Array) -> Int64s:
        """Place of each text, -1 where it is none of them; shape (m,)."""
        if len(self.texts) < FEW:  # for a lead alone Arrow's own lookup is quicker
            return self._exact(texts)
        wanted = hashes(texts)
        at = self.bucket[wanted >> self.shift]
        open_rows = np.flatnonzero(self.hashed[at] < wanted)
        while len(open_rows):
            at[open_rows] += 1
            open_rows = open_rows[self.hashed[at[open_rows]] < wanted[open_rows]]
        found = np.where(self.hashed[at] == wanted, self.place[at], -1)
        return self._same_text(texts, found)

    def _same_text(self, texts: pa.Array, found: Int64s) -> Int64s:
        hits = np.flatnonzero(found >= 0)
        if not len(hits):
            return found
        some = texts if len(hits) == len(texts) else texts.take(pa.array(hits))
        same = pc.equal(self.texts.take(pa.array(found[hits])), some)
        if pc.all(same).as_py():
            return found
        # Two texts of one hash: Arrow's lookup compares whole texts.
        wrong = hits[~same.to_numpy(zero_copy_only=False)]
        found[wrong] = self._exact(texts.take(pa.array(wrong)))
        return found

    def _exact(self, texts: pa.Array) -> Int64s:
        places = pc.index_in(texts, value_set=self.texts)
        found: Int64s = (places.fill_null(-1) if places.null_count else places).to_numpy().astype(np.int64)
        return found
