"""Training on a long funnel: 150,000 leads over twelve years, a horizon of a year, 560,000 events.

Prints, last, one line of JSON: leads, events, leads and examples learnt from, rows judged, seconds and peak memory.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from scipy.special import expit

from benchmarks.worlds import events, times
from leadscore.config import TableName, parse_funnel
from leadscore.examples import learning_examples
from leadscore.history import build_history, check_tables
from leadscore.history.zone import micros
from leadscore.training import train

if TYPE_CHECKING:
    from leadscore.history import History

FUNNEL = """
[funnel]
stages = ["issued", "sent", "reminded", "paid"]
lost = ["collected"]
handoff = ["issued", "sent"]
[horizon_days]
sent = 365
reminded = 365
paid = 365
[attributes]
numbers = ["amount"]
categories = ["article"]
"""
BEGIN, YEARS = datetime(2012, 1, 1, tzinfo=UTC), 12
ARTICLES = ("7", "142", "157", "158", "180")


def history(n_leads: int, seed: int = 1) -> History:
    """The history of an office that issues fines: a third are paid at once, many stay open for years."""
    rng = np.random.default_rng(seed)
    days = YEARS * 365.0
    created = np.sort(rng.uniform(0, days, n_leads))
    amount = np.round(np.exp(rng.normal(3.7, 0.5, n_leads)), 2)
    article = rng.choice(ARTICLES, n_leads, p=(0.3, 0.1, 0.35, 0.2, 0.05))
    odds = -0.7 + 0.8 * (article == "7") - 0.6 * (amount > 50)
    at_once = rng.random(n_leads) < expit(odds)
    sent = ~at_once & (rng.random(n_leads) < 0.9)
    when_sent = created + rng.gamma(3, 30, n_leads)
    reminded = sent & (rng.random(n_leads) < 0.85)
    when_reminded = when_sent + rng.gamma(3, 20, n_leads)
    late = reminded & (rng.random(n_leads) < expit(odds - 0.5))
    when_paid = np.where(at_once, created + rng.gamma(1.5, 8, n_leads), when_reminded + rng.gamma(2, 60, n_leads))
    collected = reminded & ~late & (rng.random(n_leads) < 0.6)
    when_collected = when_reminded + 300 + rng.gamma(3, 80, n_leads)
    names = np.array([f"F{number:06}" for number in range(n_leads)])
    moves = [
        events(names[rows & (when < days)], "stage", stage, when[rows & (when < days)], BEGIN)
        for stage, when, rows in (
            ("sent", when_sent, sent),
            ("reminded", when_reminded, reminded),
            ("paid", when_paid, at_once | late),
            ("collected", when_collected, collected),
        )
    ]
    n_touches = rng.poisson(1.1, n_leads)
    lead = np.repeat(np.arange(n_leads), n_touches)
    when = created[lead] + rng.gamma(1.5, 90, len(lead))
    touched = when < days
    raw: dict[TableName, pa.Table] = {
        "leads": pa.table(
            {"lead_id": names, "created_at": times(created, BEGIN), "amount": amount, "article": article}
        ),
        "transitions": pa.concat_tables(moves),
        "touches": pa.table(
            {
                "lead_id": names[lead[touched]],
                "kind": rng.choice(("letter", "call", "appeal"), int(touched.sum()), p=(0.6, 0.3, 0.1)),
                "occurred_at": times(when[touched], BEGIN),
            }
        ),
    }
    funnel = parse_funnel(FUNNEL)
    return build_history(check_tables(raw, funnel, micros(BEGIN + timedelta(days=days))), funnel)


def main() -> None:
    """Invent, train, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--leads", type=int, default=150_000)
    parser.add_argument("--n-jobs", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    invented = history(asked.leads)
    examples = learning_examples(invented)
    begun = time.perf_counter()
    trained = train(invented, asked.n_jobs)
    found = {
        "leads": len(invented),
        "events": len(invented.steps.lead) + len(invented.touches),
        "leads_learnt_from": len(np.unique(examples.lead)),
        "examples": len(examples),
        "rows_judged": len(trained.backtest.judged),
        "seconds": round(time.perf_counter() - begun, 1),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "log_loss": round(trained.findings.overall["log_loss"], 4),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
