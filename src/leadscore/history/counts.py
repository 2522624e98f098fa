"""Running counts of touches, all channels at once.

A running count per channel over a stretch of the line makes every windowed count one subtraction:
touches in (as_of - w, as_of] = count[position(as_of)] - count[position(as_of - w)]. The same counts say which touch
of a channel was the last and the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from leadscore.history.line import Int64s, UInt64s

Lane = np.dtype[np.unsignedinteger[Any]]
SHORT: Lane = np.dtype(np.uint16)
LONG: Lane = np.dtype(np.uint32)
Counted = npt.NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True, slots=True)
class Counts:
    """Running counts of all channels over the touches of a stretch of leads.

    Several counts share one number of 64 bits, each in a lane of its own: adding and subtracting the number adds
    and subtracts them all. No lane runs over, because none counts more than there are touches.

    Attributes
    ----------
    running : ndarray of uint64, shape (n_touches + 1, n_numbers)
        Touches of each channel before each row.
    lane : dtype
        16 bits, or 32 for a stretch of more than 65,535 touches.
    known : ndarray of int64, shape (n_sets * n_touches,)
        Known times, channel after channel.
    begin : ndarray of int64, shape (n_channels,)
        Where each channel begins in ``known``.
    """

    running: UInt64s
    lane: Lane
    known: Int64s
    begin: Int64s

    @classmethod
    def of(cls, channel: Int64s, known: Int64s, n_channels: int) -> Counts:
        """Count each touch once in every set of channels.

        Parameters
        ----------
        channel : ndarray of int64, shape (n_sets, n_touches)
            From 0 to ``n_channels - 1``; no two sets share a channel.
        known : ndarray of int64, shape (n_touches,)
        n_channels : int
            Of all sets.
        """
        lane = SHORT if len(known) < 1 << 16 else LONG
        running = np.zeros((len(known) + 1, -(-n_channels * lane.itemsize // 8)), np.uint64)
        lanes = running.view(lane)
        width = lanes.shape[1]
        lanes.reshape(-1)[channel + np.arange(width, lanes.size, width)] = 1
        np.add.accumulate(running, axis=0, out=running)
        # Places among all sets, and each set has the touches in the same order: hence "wrap".
        order = channel.astype(np.int16).reshape(-1).argsort(kind="stable")
        total = lanes[-1, :n_channels].astype(np.int64)
        begin = np.add.accumulate(total) - total
        return cls(running, lane, known.take(order, mode="wrap") if len(known) else known, begin)

    def upto(self, row: Int64s) -> UInt64s:
        """Touches before each row, in lanes; shape (..., n_numbers)."""
        return self.running.take(row, axis=0)

    def unpacked(self, packed: UInt64s) -> Counted:
        """The counts in what `upto` gives, or in differences of it; shape (..., n_channels)."""
        return packed.view(self.lane)[..., : len(self.begin)]
