"""Invented companies with sparse records, each learnt from in this process; `test_crashes` starts it.

Arguments are companies; each gives a line with a checksum of what was learnt.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from leadscore.backtest import learn_until
from leadscore.config import parse_funnel
from leadscore.history import History, build_history, check_tables
from leadscore.model import save_model
from leadscore.training import train

if TYPE_CHECKING:
    from leadscore.config import TableName
    from leadscore.history.line import Int64s
    from leadscore.model import FunnelModel

DAY = 86_400_000_000
BEGIN, DAYS = 1_704_067_200_000_000, 540  # 2024-01-01
STAGES = ("new", "contacted", "qualified", "offer", "won")
FUNNEL = """
[funnel]
stages = ["new", "contacted", "qualified", "offer", "won"]
lost = ["lost"]
handoff = ["contacted", "qualified"]
[horizon_days]
contacted = 30
qualified = 30
offer = 45
won = 90
[attributes]
numbers = ["employees", "constant", "missing"]
categories = ["source", "blank"]
[judging]
cuts = 2
resamples = 20
[lightgbm]
rounds = {rounds}
max_rounds = {rounds}
min_outcome_leads = {outcomes}
"""
# Few examples and many kinds; many examples and few kinds: the two companies that training crashed on.
SHAPES = {
    "few-examples": "[examples]\nmornings_every_days = 20\ngrid_days = [1, 4, 16, 64]\n",
    "defaults": "",
}
# So few rounds are for a quick look.
SHRUNK = 20
SELDOM = "[features]\nmin_category_leads = 1\n[examples]\nmornings_every_days = 30\ngrid_days = [2, 16]\n"


@dataclass(frozen=True, slots=True)
class Company:
    """How many leads, kinds that nearly nobody has, and touches of the first lead alone."""

    leads: int
    rare_kinds: int
    of_one_lead: int = 0

    def history(self, seed: int, settings: str) -> History:
        """Its records: more of leads that came far, little of the later ones."""
        rng = np.random.default_rng(seed)
        created = BEGIN + rng.integers(0, (DAYS - 30) * DAY, self.leads)
        reached = np.minimum(rng.geometric(0.45, self.leads) - 1, len(STAGES) - 1)
        raw: dict[TableName, pa.Table] = {
            "leads": self._leads(rng, created),
            "transitions": _transitions(rng, created, reached),
            "touches": self._touches(rng, created, reached),
        }
        funnel = parse_funnel(settings)
        return build_history(check_tables(raw, funnel, BEGIN + DAYS * DAY), funnel)

    def _leads(self, rng: np.random.Generator, created: Int64s) -> pa.Table:
        return pa.table(
            {
                "lead_id": _ids(np.arange(self.leads)),
                "created_at": _times(created),
                "employees": rng.integers(1, 500, self.leads),
                "constant": np.full(self.leads, 7),
                "missing": pa.nulls(self.leads, pa.float64()),
                "source": rng.choice(["web", "fair", "partner"], self.leads),
                "blank": pa.nulls(self.leads, pa.string()),
            }
        )

    def _touches(self, rng: np.random.Generator, created: Int64s, reached: Int64s) -> pa.Table:
        # Hardly anything is recorded of the later leads, so that the past is fuller than all time.
        recorded = np.where(created < BEGIN + 0.35 * DAYS * DAY, 12 + 6 * reached, 0.2)
        lead = np.repeat(np.arange(self.leads), rng.poisson(recorded))
        kind = rng.choice(["mail", "call", "form", "meeting"], len(lead), p=[0.65, 0.2, 0.1, 0.05])
        far = np.flatnonzero(reached >= len(STAGES) // 2)
        seldom = [rng.choice(far, rng.integers(1, 7)) for _ in range(self.rare_kinds)]
        names = [np.full(len(whose), f"seldom {number}") for number, whose in enumerate(seldom)]
        lead = np.concatenate([lead, *seldom, np.zeros(self.of_one_lead, np.int64)])
        kind = np.concatenate([kind, *names, np.full(self.of_one_lead, "mail")])
        occurred = created[lead] + rng.integers(0, 30 * DAY, len(lead))
        return pa.table({"lead_id": _ids(lead), "kind": kind, "occurred_at": _times(occurred)})


def _transitions(rng: np.random.Generator, created: Int64s, reached: Int64s) -> pa.Table:
    lead = np.repeat(np.arange(len(created)), reached)
    step = np.concatenate([np.arange(1, n + 1) for n in reached]) if len(lead) else lead
    occurred = created[lead] + step * 5 * DAY + rng.integers(0, 4 * DAY, len(lead))
    lost = np.flatnonzero((reached < len(STAGES) - 1) & (rng.random(len(created)) < 0.8))
    ends = created[lost] + (reached[lost] + 1) * 5 * DAY + rng.integers(0, 60 * DAY, len(lost))
    return pa.table(
        {
            "lead_id": _ids(np.concatenate([lead, lost])),
            "stage": np.concatenate([np.array(STAGES)[step], np.full(len(lost), "lost")]),
            "occurred_at": _times(np.concatenate([occurred, ends])),
        }
    )


def _ids(leads: Int64s) -> pa.Array:
    return pa.array(leads).cast(pa.string())


def _times(micros: Int64s) -> pa.Array:
    return pa.array(np.minimum(micros, BEGIN + DAYS * DAY - 1)).cast(pa.timestamp("us", "UTC"))


def checksum(model: FunnelModel) -> str:
    """Of every byte of the model's folder."""
    with tempfile.TemporaryDirectory() as folder:
        save_model(model, Path(folder) / "model")
        files = sorted((Path(folder) / "model").iterdir())
        return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def shape(name: str, leads: int, rounds: int) -> str:
    """One of the two companies that crashed; many rounds are for the whole way of `make train`."""
    settings = FUNNEL.format(rounds=rounds, outcomes=40) + SHAPES[name]
    history = Company(leads, rare_kinds=2).history(1, settings)
    whole = rounds > SHRUNK
    return checksum(train(history, n_jobs=2).model if whole else learn_until(history, history.known_until, n_jobs=2))


def seldom(seed: int, leads: int, of_one_lead: int) -> str:
    """Kinds that occur a handful of times, and one lead with most touches; learnt twice, to the same bytes."""
    settings = FUNNEL.format(rounds=SHRUNK, outcomes=10) + SELDOM
    history = Company(leads, rare_kinds=20, of_one_lead=of_one_lead).history(seed, settings)
    once, again = (checksum(learn_until(history, history.known_until, n_jobs)) for n_jobs in (1, 2))
    if once != again:
        raise SystemExit(f"seed {seed}: {once} on one thread, {again} on two")
    return once


def main() -> None:
    """Learn from ``shape:<name>:<leads>:<rounds>`` and ``seldom:<seed>:<leads>:<touches of one lead>``, in turn."""
    for asked in sys.argv[1:]:
        what, name, *sizes = asked.split(":")
        first, second = map(int, sizes)
        given = shape(name, first, second) if what == "shape" else seldom(int(name), first, second)
        print(f"{asked} {given}", flush=True)  # noqa: T201 - what the test reads


if __name__ == "__main__":
    main()
