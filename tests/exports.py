"""Exports of a tiny CRM, one after the other: rows are added, removed, corrected, dated anew, moved to other leads."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    Row = dict[str, str]
    Export = dict[str, list[Row]]

FUNNEL = """
preset = "b2b"
[time]
timezone = "Europe/Berlin"
known_until = 2024-06-{day:02d}T00:00:00Z
[attributes]
numbers = ["employees"]
categories = ["source"]
[changes]
numbers = ["amount"]
categories = ["owner"]
"""
BEGIN = datetime(2024, 5, 1, tzinfo=UTC)
COLUMNS = {
    "leads": ["lead_id", "created_at", "recorded_at", "employees", "source", "do_not_score"],
    "transitions": ["lead_id", "stage", "occurred_at", "recorded_at", "reason", "event_id"],
    "touches": ["lead_id", "kind", "occurred_at", "recorded_at", "direction", "by", "value", "event_id"],
    "changes": ["lead_id", "attribute", "value", "occurred_at", "recorded_at", "event_id"],
}
OBJECTS = "l5"


class Crm:
    """A CRM with random contents, and what becomes of them from one export to the next."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)  # noqa: S311 - not a secret
        self.day = 1
        self.n_ids = 0
        # Which tables have ids: none of their rows, some or all.
        self.named = {table: self.random.choice([0.0, 0.6, 1.0]) for table in COLUMNS}
        leads = self.random.sample([f"l{number}" for number in range(9)], 6)
        self.rows: Export = {"leads": [self._lead(each) for each in leads]}
        for table in ("transitions", "touches", "changes"):
            self.rows[table] = [self._event(table) for _ in range(self.random.randrange(4, 14))]
            self.rows[table] += [dict(row) for row in self.rows[table][: self.random.randrange(3)]]

    def write(self, folder: Path) -> None:
        """Write the export of today."""
        folder.mkdir(exist_ok=True)
        (folder / "funnel.toml").write_text(FUNNEL.format(day=self.day))
        for table, columns in COLUMNS.items():
            rows = self.random.sample(self.rows[table], len(self.rows[table]))
            with (folder / f"{table}.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, columns)
                writer.writeheader()
                writer.writerows(rows)

    def move_on(self) -> None:
        """Change some of everything, as users of a CRM do between two exports."""
        self.day += self.random.choice([0, 1, 3])
        leads = [row for row in self.rows["leads"] if self.random.random() < 0.85] or self.rows["leads"][:1]
        ids = {row["lead_id"] for row in leads}
        leads = [self._lead(row["lead_id"]) if self.random.random() < 0.3 else row for row in leads]
        new = [f"l{number}" for number in range(9) if f"l{number}" not in ids]
        leads += [self._lead(each) for each in self.random.sample(new, self.random.randrange(min(3, len(new) + 1)))]
        self.rows["leads"] = leads
        for table in ("transitions", "touches", "changes"):
            kept = [row for row in self.rows[table] if row["lead_id"] in ids and self.random.random() < 0.85]
            once = self._of_one_contents(kept)
            self.rows[table] = [self._changed(table, row) for row in once]
            self.rows[table] += [self._event(table) for _ in range(self.random.randrange(5))]

    def _of_one_contents(self, rows: list[Row]) -> list[Row]:
        """Rows with each ``event_id`` once: contents that differ and were recorded at one moment are refused."""
        by_id = {row["event_id"]: row for row in rows if row["event_id"]}
        return [row for row in rows if not row["event_id"]] + list(by_id.values())

    def _changed(self, table: str, row: Row) -> Row:
        new, chance = self._event(table), self.random.random()
        if chance < 0.15:  # corrected
            return row | {name: new[name] for name in new if name not in {"lead_id", "event_id"}}
        if chance < 0.25:  # dated anew
            return row | {"recorded_at": new["recorded_at"]}
        if chance < 0.3:  # of another lead
            return row | {"lead_id": new["lead_id"]}
        return row | {"event_id": ""} if chance < 0.33 else row

    def _lead(self, lead_id: str) -> Row:
        return {
            "lead_id": lead_id,
            "created_at": self._time(-10, 15),
            "recorded_at": self._maybe(self._time(-10, 20)),
            "employees": self._maybe(str(self.random.choice([1, 2.5, 700]))),
            "source": self.random.choice(["web", "fair", ""]),
            "do_not_score": "true" if lead_id == OBJECTS else "",
        }

    def _event(self, table: str) -> Row:
        whole_day = self.random.random() < 0.2
        happened = self._time(0, 31 + self.day)
        row = {
            "lead_id": self.random.choice(self.rows["leads"])["lead_id"],
            "occurred_at": happened[:10] if whole_day else happened,
            "recorded_at": self._maybe(self._time(0, 31 + self.day)),
            "event_id": "",
        }
        if self.random.random() < self.named[table]:
            self.n_ids += 1
            row["event_id"] = f"e{self.n_ids}"
        match table:
            case "transitions":
                stage = self.random.choice(["lead", "mql", "sal", "sql", "opportunity", "won", "lost"])
                return row | {"stage": stage, "reason": self.random.choice(["", "budget"])}
            case "touches":
                own = {"kind": self.random.choice(["call", "mail", "visit"]), "by": self.random.choice(["", "ann"])}
                value = self._maybe(str(self.random.choice([1, 2.5])))
                return row | own | {"direction": self.random.choice(["", "in", "outbound"]), "value": value}
            case _:
                amount = self.random.random() < 0.5
                value = self.random.choice(["100", "100.0", "7", ""] if amount else ["ann", "bob", ""])
                return row | {"attribute": "amount" if amount else "owner", "value": value}

    def _maybe(self, text: str) -> str:
        return text if self.random.random() < 0.5 else ""

    def _time(self, first_day: int, last_day: int) -> str:
        # Coarse, so that rows meet at one moment.
        hours = self.random.randrange(24 * first_day, 24 * last_day, 6)
        return (BEGIN + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")
