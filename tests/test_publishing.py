"""From the store to the list: a batch, the events after it, and a ranked folder say the same, bit for bit."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from leadscore import batch
from leadscore.batch import Published, publish_list
from leadscore.errors import ModelError
from leadscore.history import DAY, Rules
from leadscore.model import funnel_model
from leadscore.publishing import rescore
from leadscore.scoring import probability_columns, rank
from leadscore.store import (
    Lead,
    Retraction,
    Touch,
    Transition,
    ingest,
    open_store,
    reading,
    records_of,
    score_history,
    transaction,
)
from leadscore.store.schema import leads, listed, published, runs
from tests.served import serving_base_rates
from tests.stores import send

if TYPE_CHECKING:
    from pathlib import Path

    from leadscore.history import History
    from leadscore.model import FunnelModel
    from leadscore.publishing import Rescored
    from leadscore.store import Event, Store

pytestmark = pytest.mark.integration

VERSION = "7"


@pytest.fixture(scope="module")
def history(small_history: History) -> History:
    return small_history


@pytest.fixture(scope="module")
def model(small_model: FunnelModel) -> FunnelModel:
    return small_model


def published_as_of(store: Store, model: FunnelModel, as_of: int) -> Published:
    return publish_list(store, model, VERSION, as_of, keep_from=0, now=lambda: as_of)


def in_force(store: Store) -> pd.DataFrame:
    """The list in force, in the order of `rank`."""
    query = sa.select(leads.c.lead_id, listed).join(leads, leads.c.lead == listed.c.lead)
    query = query.join(published, published.c.run == listed.c.run).order_by(listed.c.list, listed.c.rank)
    with reading(store) as connection:
        return pd.DataFrame(connection.execute(query).mappings().all()).set_index("lead_id")


def after_events(
    store: Store, model: FunnelModel, *events: Event, lead_ids: tuple[str, ...] = (), at: int
) -> Rescored | None:
    touched = send(store, *events, at=at).touched or lead_ids
    with transaction(store) as connection:
        return rescore(connection, model, Rules.of(model.funnel), VERSION, touched, as_of=at, scored_at=at)


def test_compiled_trees_list_the_same_bits(
    company: Store, model: FunnelModel, history: History, code_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_of = history.known_until
    published_as_of(company, model, as_of)
    wanted = in_force(company)
    monkeypatch.setattr(batch, "WORTH_COMPILING", 1)
    monkeypatch.setattr(funnel_model, "ROWS_APART", 1)

    done = publish_list(company, model, VERSION, as_of, keep_from=0, now=lambda: as_of, compiled_in=code_folder)

    assert list(code_folder.iterdir())
    assert done.leads == len(wanted)
    assert in_force(company).drop(columns="run").equals(wanted.drop(columns="run"))


def test_the_list_is_what_rank_says_of_the_folder(company: Store, model: FunnelModel, history: History) -> None:
    for as_of in (history.known_until, history.known_until - 30 * DAY):
        done = published_as_of(company, model, as_of)

        wanted, found = rank(history, model, as_of), in_force(company)
        assert done.leads == len(wanted) > 100
        # Equal probabilities are in an order of their own there: that of `list_page`.
        order = np.lexsort((found["lead"], -found["key"], found["list"]))
        assert order.tolist() == list(range(len(found)))
        wanted = wanted.set_index("lead_id").loc[found.index]
        for name in ("list", "stage"):
            assert found[name].tolist() == wanted[name].tolist()
        assert found.groupby("list")["rank"].apply(list).map(sorted).tolist() == [
            list(range(1, n + 1)) for n in found["list"].value_counts(sort=False)
        ]
        said = np.array([json.loads(each) for each in found["probabilities"]], np.float64)
        assert np.array_equal(said, wanted[probability_columns(model.funnel)], equal_nan=True)
        assert set(found["as_of"]) == {as_of}
        assert set(found["model_version"]) == {VERSION}


def test_owner_source_grade_and_flags_stand_beside_the_score(
    company: Store, model: FunnelModel, history: History
) -> None:
    published_as_of(company, model, history.known_until)
    found = in_force(company)
    with reading(company) as connection:
        records = records_of(connection, found.index.tolist())

    owners = {each["lead_id"]: _last(each, "owner", history.known_until) for each in records}
    assert found["owner"].where(found["owner"].notna(), None).to_dict() == owners
    assert len(set(owners.values())) > 2
    assert found["source"].to_dict() == {each["lead_id"]: each["attributes"]["source"] for each in records}
    assert set(found["grade"]) <= set("ABCD")
    assert found.loc[found["list"] == "handoff", "grade"].is_monotonic_increasing


def _last(record: dict[str, Any], attribute: str, as_of: int) -> str | None:
    values = [
        each["value"]
        for each in record["changes"]
        if each["attribute"] == attribute and max(each["occurred_at"], each["recorded_at"]) <= as_of
    ]
    return values[-1] if values else None


def test_flags_are_those_of_the_stages_ahead(company: Store, model: FunnelModel, history: History) -> None:
    weak = serving_base_rates(model, {"mql"})
    weak.stages_ = (*weak.stages_[:-1], replace(weak.stages_[-1], booster=None))
    published_as_of(company, weak, history.known_until)

    found = in_force(company).groupby("stage")["flags"].agg(set)
    assert found["lead"] == {'["fallback", "no_signal"]'}
    assert found["mql"] == found["opportunity"] == {'["fallback"]'}


def test_a_lead_scored_anew_has_the_bits_of_the_batch(company: Store, model: FunnelModel, history: History) -> None:
    as_of = history.known_until
    published_as_of(company, model, as_of)
    before = in_force(company)

    with transaction(company) as connection:
        again = rescore(
            connection, model, Rules.of(model.funnel), VERSION, before.index.tolist(), as_of=as_of, scored_at=as_of
        )

    assert again is not None
    # Only what the store came to know after the moment of the list differs.
    assert again.as_of.tolist() == [as_of] * len(before)
    pd.testing.assert_frame_equal(in_force(company), before)
    assert again.scores.lead_id.tolist() == before.index.tolist()
    with reading(company) as connection:
        for lead in before["lead"].tolist()[:20]:
            assert len(score_history(connection, lead)) == 1


def test_an_event_moves_its_lead_in_the_list_and_its_rank_stays(
    company: Store, model: FunnelModel, history: History
) -> None:
    now = history.known_until + DAY
    published_as_of(company, model, history.known_until)
    before = in_force(company)
    worked = before.index[before["stage"] == "mql"][0]

    done = after_events(company, model, Touch(worked, "call", now - 5), at=now)

    after = in_force(company)
    assert done is not None
    assert done.as_of.tolist() == [now]
    assert after.loc[worked, "as_of"] == after.loc[worked, "scored_at"] == now
    assert after.loc[worked, "rank"] == before.loc[worked, "rank"]
    assert after.loc[worked, "probabilities"] != before.loc[worked, "probabilities"]
    pd.testing.assert_frame_equal(after.drop(worked), before.drop(worked))
    with reading(company) as connection:
        assert [each.as_of for each in score_history(connection, int(after.loc[worked, "lead"]))] == [
            history.known_until,
            now,
        ]

    published_as_of(company, model, now)
    batch = in_force(company)
    assert batch.loc[worked, "probabilities"] == after.loc[worked, "probabilities"]


def test_a_lead_that_is_won_leaves_the_list(company: Store, model: FunnelModel, history: History) -> None:
    now = history.known_until + DAY
    published_as_of(company, model, history.known_until)
    won = in_force(company).index[0]

    after_events(company, model, Transition(won, "won", now), at=now)

    row = in_force(company).loc[won]
    assert (row["list"], row["stage"], row["key"], row["grade"], row["flags"]) == ("", "won", 0, "", "[]")
    assert set(json.loads(row["probabilities"])) == {None}
    assert published_as_of(company, model, now).leads > 100
    assert won not in in_force(company).index


def test_a_new_lead_is_listed_at_once_and_without_a_rank(company: Store, model: FunnelModel, history: History) -> None:
    now = history.known_until + DAY
    published_as_of(company, model, history.known_until)

    after_events(company, model, Lead("new", now - 9, {"employees": 3.0, "source": "a source nobody saw"}), at=now)

    row = in_force(company).loc["new"]
    assert (row["list"], row["source"]) == ("handoff", "a source nobody saw")
    assert pd.isna(row["owner"])
    assert pd.isna(row["rank"])


def test_a_list_never_goes_back_in_time(company: Store, model: FunnelModel, history: History) -> None:
    published_as_of(company, model, history.known_until + DAY)
    worked = in_force(company).index[0]

    done = after_events(company, model, Touch(worked, "call", history.known_until), at=history.known_until + 1)

    assert done is not None
    assert done.as_of.tolist() == [history.known_until + DAY]
    assert in_force(company).loc[worked, "scored_at"] == history.known_until + 1


def test_a_planned_event_counts_when_its_time_comes(company: Store, model: FunnelModel, history: History) -> None:
    now = history.known_until + 1
    published_as_of(company, model, history.known_until)
    worked = in_force(company).index[0]
    planned = Transition(worked, "lost", now + 100 * DAY)

    first = after_events(company, model, planned, Touch(worked, "meeting", now + 3 * DAY), at=now)
    before = in_force(company).loc[worked]
    second = after_events(company, model, Touch(worked, "call", now), at=now + 1)
    after = in_force(company).loc[worked]

    assert first is not None
    assert second is not None
    assert (first.as_of.tolist(), second.as_of.tolist()) == ([now], [now + 1])
    assert (before["as_of"], after["as_of"]) == (now, now + 1)
    assert before["probabilities"] != after["probabilities"]
    assert "meeting" not in {each["kind"] for each in _known(company, worked, now)}
    after_events(company, model, Touch(worked, "call", now + 2), at=now + 100 * DAY)
    assert in_force(company).loc[worked, "stage"] == "lost"


def _known(store: Store, lead_id: str, as_of: int) -> list[dict[str, Any]]:
    with reading(store) as connection:
        (record,) = records_of(connection, [lead_id])
    return [each for each in record["touches"] if max(each["occurred_at"], each["recorded_at"]) <= as_of]


@pytest.mark.parametrize("ahead", [60_000_000, 90 * DAY], ids=["another server's clock", "an older leadscore"])
def test_a_listed_score_of_a_moment_ahead(company: Store, model: FunnelModel, history: History, ahead: int) -> None:
    """A clock that is a minute ahead is followed; a row that planned events put ahead is replaced at once."""
    now = history.known_until + DAY
    published_as_of(company, model, history.known_until)
    worked = in_force(company).index[0]
    with transaction(company) as connection:
        lead = int(in_force(company).loc[worked, "lead"])
        connection.execute(sa.update(listed).where(listed.c.lead == lead).values(as_of=now + ahead))

    after_events(company, model, Touch(worked, "call", now), at=now)

    followed = ahead < 300_000_000
    row = in_force(company).loc[worked]
    assert (row["scored_at"], row["as_of"]) == (now, now + ahead * followed)
    with reading(company) as connection:
        assert all(each.as_of <= now + ahead * followed for each in score_history(connection, lead))


def test_a_correction_and_a_retraction_take_effect_at_once(
    company: Store, model: FunnelModel, history: History
) -> None:
    now = history.known_until + DAY
    published_as_of(company, model, history.known_until)
    stage = in_force(company)["stage"]
    worked = stage.index[stage == "mql"][0]

    after_events(company, model, Transition(worked, "lost", now - 5, event_id="x"), at=now)
    assert in_force(company).loc[worked, "list"] == ""
    after_events(company, model, Transition(worked, "sal", now - 5, event_id="x"), at=now)
    assert in_force(company).loc[worked, "stage"] == "sal"
    after_events(company, model, Retraction("x"), at=now)
    assert in_force(company).loc[worked, "stage"] == "mql"


def test_a_lead_is_listed_from_the_moment_it_is_known(company: Store, model: FunnelModel, history: History) -> None:
    now = history.known_until + DAY
    published_as_of(company, model, history.known_until)
    soon, early = Lead("soon", now + 60_000_000), Lead("early", now + DAY)

    done = after_events(company, model, soon, early, at=now)

    assert done is not None
    assert done.scores.lead_id[done.scores.not_known_yet].tolist() == ["early"]
    assert done.as_of[done.scores.scored].tolist() == [now + 60_000_000]
    assert done.scores.snapshot.days_since_created.tolist() == [0.0]
    assert "soon" in in_force(company).index
    assert "early" not in in_force(company).index
    batch = published_as_of(company, model, now + 60_000_000)
    assert batch.not_known_yet == 1
    listed_anew = in_force(company).loc["soon", "probabilities"]
    assert listed_anew == done.listed.probabilities[0]


def test_leads_that_object_or_are_not_there_are_not_scored(
    company: Store, model: FunnelModel, history: History
) -> None:
    now = history.known_until + DAY
    published_as_of(company, model, history.known_until)
    objects, other = in_force(company).index[:2]
    done = after_events(
        company,
        model,
        Lead(objects, now, do_not_score=True),
        Touch(other, "call", now),
        lead_ids=(objects, other),
        at=now,
    )

    assert done is not None
    assert len(done.as_of) == 2
    assert done.scores.lead_id[done.scores.scored].tolist() == [other]
    assert objects not in in_force(company).index
    assert after_events(company, model, lead_ids=("nobody",), at=now) is None
    alone = after_events(company, model, Touch(objects, "call", now + 1), lead_ids=(objects,), at=now)
    assert alone is not None
    assert len(alone.listed) == 0


def test_a_model_of_another_funnel_leaves_the_list_as_it_is(
    company: Store, model: FunnelModel, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    published_as_of(company, model, history.known_until)
    before = in_force(company)

    def damaged(_: object) -> None:
        raise ModelError("trees are damaged")

    monkeypatch.setattr(model, "predict_proba", damaged)
    with pytest.raises(ModelError):
        published_as_of(company, model, history.known_until + 1)

    pd.testing.assert_frame_equal(in_force(company), before)
    with reading(company) as connection:
        assert connection.execute(sa.select(runs.c.state).order_by(runs.c.run)).scalars().all() == [
            "published",
            "staging",
        ]


def test_an_event_while_a_batch_scores_is_in_the_list_after_it(
    company: Store, model: FunnelModel, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that came before the moment of the batch, and was stored after the batch had read."""
    now = history.known_until + DAY
    published_as_of(company, model, history.known_until)
    worked = in_force(company).index[0]
    predict = model.predict_proba

    def meanwhile(snapshot: Any) -> Any:
        monkeypatch.setattr(model, "predict_proba", predict)
        after_events(company, model, Touch(worked, "call", now - 5), at=now - 1)
        return predict(snapshot)

    monkeypatch.setattr(model, "predict_proba", meanwhile)
    published_as_of(company, model, now)
    batch = in_force(company)

    published_as_of(company, model, now)
    assert batch.loc[worked, "probabilities"] == in_force(company).loc[worked, "probabilities"]
    assert batch.loc[worked, "scored_at"] == now - 1
    assert batch.loc[worked, "rank"] > 0


def test_an_empty_store_gives_an_empty_list(tmp_path: Path, model: FunnelModel, history: History) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'empty.db'}")
    assert published_as_of(store, model, history.known_until).leads == 0
    store.close()


def test_a_lead_that_left_the_crm_is_listed_no_more(
    company: Store, model: FunnelModel, small: Path, history: History, tmp_path: Path
) -> None:
    as_of = history.known_until
    published_as_of(company, model, as_of)
    gone = str(in_force(company).index[0])
    export = shutil.copytree(small, tmp_path / "export")
    for path in export.glob("*.csv"):
        rows = path.read_text().splitlines()
        path.write_text("\n".join(row for row in rows if not row.startswith(f"{gone},")) + "\n")

    ingest(company, export, received_at=as_of, whole=True)

    assert gone not in in_force(company).index
    scored = after_events(company, model, Touch(gone, "call_out", as_of + 1), at=as_of + 1)
    assert scored is not None
    assert len(scored.listed) == 0
    assert gone not in in_force(company).index
    # A list that was begun before.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "read_numbered", lambda *_: whole_history(company, history))
        published_as_of(company, model, as_of)
    assert gone not in in_force(company).index
    assert set(in_force(company).index) == set(rank(history, model)["lead_id"]) - {gone}


def whole_history(store: Store, history: History) -> tuple[History, Any]:
    """As `read_numbered` gave it before a lead left."""
    with reading(store) as connection:
        number = dict(connection.execute(sa.select(leads.c.lead_id, leads.c.lead)).tuples().all())
    return history, np.array([number[each] for each in history.ids])
