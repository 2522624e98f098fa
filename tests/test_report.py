"""The report: that it says what was found, to whom it concerns, and nothing that a name smuggles in."""

from __future__ import annotations

import math
import re
import tomllib
from copy import copy
from dataclasses import replace
from html import escape, unescape
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from leadscore.config import Source, read_funnel
from leadscore.drift import RECALIBRATE, Drift, Finding
from leadscore.features import Column
from leadscore.funnel import NeverClosed
from leadscore.history import DAY, History, read_history
from leadscore.leaks import ColumnSource, Leak, Suspect
from leadscore.metrics import ALL, Interval, figures, loss_difference
from leadscore.report import report
from leadscore.report.charts import BOTTOM, LEFT, RIGHT, TOP, charts
from leadscore.report.drivers import driven
from leadscore.report.segments import splits
from leadscore.report.words import (
    Cell,
    cell,
    column_in_words,
    counted,
    day,
    listed,
    nats,
    of_100,
    percent,
    points,
    topic_in_words,
)
from leadscore.training import Trained, doubts, train
from tests.served import serving_base_rates

if TYPE_CHECKING:
    from pathlib import Path

    from leadscore.metrics import Judged

pytestmark = pytest.mark.integration

SECTIONS = ("first", "learnt", "pairs", "figures", "charts", "drivers", "segments", "details", "again")
HOSTILE = '<i a="1">&\'{{ 7 * 7 }}</i>'
CLOSED_BY_THEMSELVES = {"meta", "link", "img", "path", "circle", "polyline", "br"}
LEAK = Leak(
    "won",
    "sql",
    (
        Suspect(
            source=ColumnSource("amount"),
            by_missingness=True,
            known_of_reached=True,
            alone=0.96,
            before=0.97,
            without=0.62,
        ),
    ),
    ('set known_late = ["amount"] under [attributes] of funnel.toml',),
)
STAGES = ["lead", "mql", "sal", "sql", "opportunity", "won"]


@pytest.fixture(scope="module")
def history(small: Path) -> History:
    return read_history(small)


@pytest.fixture(scope="module")
def trained(history: History) -> Trained:
    return train(history, n_jobs=1)


@pytest.fixture(scope="module")
def page(trained: Trained, history: History) -> str:
    return report(trained, history, "small", run_id="a1b2c3", trained_at=19_000 * DAY)


def read_aloud(html: str) -> str:
    """What a reader sees, in one line."""
    body = re.sub(r"<[^>]*>", " ", html[html.index("<body>") :])
    return " ".join(unescape(body).split())


def with_findings(trained: Trained, **changed: Any) -> Trained:
    return replace(trained, findings=replace(trained.findings, **changed))


def sure(trained: Trained) -> Trained:
    """The same run without anything to warn of, every stage served by trees."""
    model = serving_base_rates(trained.model, ())
    grown = next(stage.booster for stage in model.stages_ if stage.booster is not None)
    model.stages_ = tuple(replace(stage, booster=stage.booster or grown) for stage in model.stages_)
    return replace(with_findings(trained, leaks=(), never_closed=None), model=model)


def judged_otherwise(trained: Trained, judged: Judged) -> Trained:
    past = replace(trained.backtest, judged=judged)
    return replace(with_findings(trained, figures=figures(judged, 20)), backtest=past)


def outcome_of(judged: Judged, place: int, value: float) -> Judged:
    outcome = judged.outcome.copy()
    outcome[:, place] = np.where(np.isnan(outcome[:, place]), np.nan, value)
    return replace(judged, outcome=outcome)


class Balance(HTMLParser):
    """The tags that stand open, and every attribute seen."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in CLOSED_BY_THEMSELVES:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parsed(html: str) -> Balance:
    balance = Balance()
    balance.feed(html)
    balance.close()
    assert not balance.open
    return balance


def test_the_sections_come_in_order_and_every_tag_is_closed(page: str) -> None:
    assert tuple(re.findall(r'<section id="(\w+)">', page)) == SECTIONS
    assert parsed(page).open == []


def test_nothing_is_loaded_and_nothing_runs(page: str) -> None:
    found = parsed(page)

    assert not found.tags & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    assert not found.attributes & {"src", "href", "srcset", "action"}
    assert not re.search(r"https?://|@import|url\(", page)
    assert not [name for name in found.attributes if name.startswith("on")]


def test_the_same_run_gives_the_same_report(trained: Trained, history: History, page: str) -> None:
    assert report(trained, history, "small", run_id="a1b2c3", trained_at=19_000 * DAY) == page


def test_the_first_screen_says_what_the_list_brings(trained: Trained, history: History) -> None:
    shares = {"base rate": 0.181, "most recently touched": 0.109, "oldest first": 0.04}
    gains = {"base rate": (0.03, 0.01, 0.05), "oldest first": (0.2, 0.1, 0.3), "most recently touched": (-1, -2, -0.5)}
    peers = tuple(
        replace(
            peer,
            handoff=replace(peer.handoff, precision=Interval(shares.get(peer.name, 0.2), 0.1, 0.3)),
            precision_gain=Interval(*gains.get(peer.name, (0.01, -0.02, 0.04))),
        )
        for peer in trained.peers
    )
    handoff = replace(trained.findings.handoff, precision=Interval(0.213, 0.189, 0.233))
    said = read_aloud(report(replace(with_findings(sure(trained), handoff=handoff), peers=peers), history, "small"))

    assert "contacted from the top of this list, 21 of 100 reached sql within 45 days" in said
    base = "the base rate (stage and days in it)"
    assert f"In order of {base} it would be 18, most recently touched first 11 and oldest first 4." in said
    assert "it would be between 19 and 23 (95 % interval)" in said
    assert f"The model is better than {base} and oldest first by more than chance explains." in said
    assert "It is worse than most recently touched first by more than chance explains." in said
    assert "neither clearly better nor clearly worse than naive Bayes (Odoo) and logistic regression" in said


def test_the_verdict_names_whose_probabilities_are_better(trained: Trained, history: History) -> None:
    def page(**gains: Interval) -> str:
        peers = tuple(replace(peer, loss_gain=gains.get(peer.name, Interval(0.1, 0.05, 0.2))) for peer in trained.peers)
        return read_aloud(report(replace(sure(trained), peers=peers), history, "small"))

    behind, unsure = Interval(-0.02, -0.03, -0.01), Interval(-0.02, -0.05, 0.01)
    names = {"logistic regression": behind, "base rate": unsure}

    assert "The probabilities of logistic regression are clearly better (log loss)." in page(**names)
    assert "clearly better (log loss)" not in page(**{"base rate": unsure})


def test_what_is_not_served_is_not_praised(trained: Trained, history: History) -> None:
    base = next(peer for peer in trained.peers if peer.name == "base rate")
    model = serving_base_rates(trained.model, ("sql",))
    unsure = replace(with_findings(trained, handoff=base.handoff, leaks=()), model=model)

    said = read_aloud(report(unsure, history, "small"))

    assert f"top of this list, {of_100(base.handoff.precision.value)} of 100 reached sql" in said
    assert "in order of this model's probability" not in said
    assert re.search(r"in order of the base rate \(stage and days in it\) \d+ of 100", said)
    assert "These trees are not in service" in said


def test_warnings_come_before_everything_else(trained: Trained, history: History) -> None:
    doubtful = with_findings(sure(trained), leaks=(LEAK,), never_closed=NeverClosed(90, 703, 946, 714, 11))
    model = serving_base_rates(doubtful.model, ("sal",))
    first, *others = model.stages_
    model.stages_ = (replace(first, booster=None, n_reached=12), *others)

    html = report(replace(doubtful, model=model), history, "small")
    before = read_aloud(html[: html.index('<section id="first">')])

    assert (
        "Leak? won from sql. Order .97 on later mornings; .62 without amount (missing for those that did not" in before
    )
    assert 'set known_late = ["amount"] under [attributes] of funnel.toml; then train again.' in before
    assert "No signal: sal. " in before
    assert "Too few outcomes: mql. 12 leads are known to have reached mql" in before
    assert "Leads are not closed. 703 of 946 open leads have been in their stage for more than 90 days" in before
    assert "To reach mql Too few outcomes: there are no trees." in read_aloud(html)


def test_drift_is_said_in_a_box(trained: Trained, history: History) -> None:
    rose = Finding(
        "level", "sql", 0.075, 0.251, 9.1, 1e-12, f"sql: predicted 7.5%, observed 25.1%{HOSTILE}", RECALIBRATE
    )

    quiet, loud = (report(replace(trained, drift=each), history, "small") for each in (Drift((), 9), Drift((rose,), 9)))

    assert "No drift found. " in read_aloud(quiet)
    assert "The world moved" not in quiet
    said = read_aloud(loud)
    assert "The world moved: recalibrate Run make recalibrate, then make promote. Sql: predicted 7.5%" in said
    assert said.index("The world moved") < said.index("Of the leads contacted")
    assert HOSTILE not in loud


def test_without_a_warning_there_is_no_box(trained: Trained, history: History) -> None:
    assert "<aside" not in report(replace(sure(trained), drift=Drift((), 9)), history, "small")


def test_each_source_of_a_leak_has_a_row_with_what_to_do(trained: Trained, history: History) -> None:
    html = report(with_findings(sure(trained), leaks=(LEAK,)), history, "small")

    assert tuple(re.findall(r'<section id="(\w+)">', html)) == ("first", "leaks", *SECTIONS[1:])
    row = (
        "won from sql amount missing for those that did not reach won "
        'set known_late = ["amount"] under [attributes] of funnel.toml 0.960 0.970 0.620'
    )
    assert row in read_aloud(html)


def test_log_and_report_give_one_reason_for_base_rates(trained: Trained, history: History) -> None:
    model = serving_base_rates(trained.model, ("sal",), unjudged=("mql",))
    found = trained.findings.about(model)

    said = read_aloud(report(replace(trained, model=model, findings=found), history, "small"))

    logged = [warning for warning in found.warnings if warning.startswith(("too few", "no signal"))]
    titles = [warning.partition(".")[0] for warning in logged]
    assert titles[:2] == ["too few outcomes to judge by: mql", "no signal: sal"]
    for warning in logged:
        assert warning[:1].upper() + warning[1:] in said
    assert "base rate: no signal" in said
    assert "These trees are not in service: too few outcomes to judge by." in said


def test_what_is_odd_about_the_data_is_said(trained: Trained, history: History) -> None:
    odd = replace(history, warnings=("12 rows of touches <were> corrected late",))

    html = report(trained, odd, "small")

    assert html.index("About the data") < html.index('<section id="first">')
    assert "12 rows of touches <were> corrected late." in read_aloud(html)
    assert "About the data" not in report(trained, history, "small")


def test_a_stage_that_is_not_judged_yet_is_said_to_be(trained: Trained, history: History) -> None:
    unknown = outcome_of(trained.backtest.judged, 4, np.nan)

    said = read_aloud(report(judged_otherwise(trained, unknown), history, "small"))

    assert "Reach won within 90 days Not judged: no outcome is known yet" in said
    assert "nan" not in said.lower().split()


def test_a_stage_that_none_reached_has_no_gains(trained: Trained, history: History) -> None:
    none = outcome_of(trained.backtest.judged, 4, 0.0)

    assert "Gains None reached the stage." in read_aloud(report(judged_otherwise(trained, none), history, "small"))


def test_a_list_that_nobody_worked_is_said_to_be(trained: Trained, history: History) -> None:
    nobody = Interval(math.nan, math.nan, math.nan)
    handoff = replace(trained.findings.handoff, precision=nobody, recall=nobody)

    said = read_aloud(report(with_findings(sure(trained), handoff=handoff), history, "small"))

    assert "reach sql within 45 days is not known yet" in said


@pytest.mark.parametrize(("said", "off"), [(0.2, True), (0.055, False)])
def test_stages_whose_probabilities_are_off_are_named(
    trained: Trained, history: History, said: float, *, off: bool
) -> None:
    table = trained.findings.figures.copy()
    row = (table["stage"] == "sal") & (table["current"] == ALL)
    table.loc[row, ["base_rate", "base_rate_low", "base_rate_high"]] = 0.05, 0.04, 0.06
    table.loc[row, ["mean_score", "mean_score_low", "mean_score_high"]] = said, said - 0.01, said + 0.01

    aloud = read_aloud(report(with_findings(sure(trained), figures=table), history, "small"))

    assert (f"sal ({100 * said:.1f} % said, 5.0 % observed)" in aloud) == off


def test_what_was_learnt_from_is_counted(trained: Trained, history: History, page: str) -> None:
    said = read_aloud(page)

    assert f"Leads {len(history):,} Left out, because of do_not_score {history.left_out:,}" in said
    assert f"Touches {len(history.touches):,}" in said
    assert f"outcome {trained.n_examples:,}" in said
    assert "Known until 1 July 2025, 08:00 (UTC)" in said
    assert "Trained 8 January 2022" in said
    for name, stage in zip(STAGES[1:], trained.model.stages_, strict=True):
        assert re.search(rf"{name} \d+ {stage.n_examples:,} {stage.n_reached:,} {stage.n_not_reached:,}", said)


def test_every_row_of_the_figures_is_there(trained: Trained, page: str) -> None:
    whole, each = (page[page.index(f'id="{section}"') :] for section in ("figures", "details"))
    said, said_of_each = read_aloud(f"<body>{whole}"), read_aloud(f"<body>{each}")

    for row in trained.findings.figures.to_dict("records"):
        observed, counts = percent(row["base_rate"]).replace("\xa0", " "), f"{row['n']:,.0f} {row['leads']:,.0f}"
        if row["current"] == ALL:
            assert re.search(rf"{row['stage']} within \d+ days {counts} {observed}", said)
        else:
            assert f"{row['stage']} {row['current']} {counts} {observed}" in said_of_each
    for peer in trained.peers:
        assert peer.name in said


def test_how_to_get_it_again(trained: Trained, history: History, page: str, small: Path) -> None:
    said = read_aloud(page)

    assert "make train DATA=small" in said
    assert history.fingerprint() in said
    assert "MLflow run a1b2c3" in said
    for section, settings in read_funnel(small / "funnel.toml").model_dump().items():
        names = [f"{section}.{name}" for name in settings] or [section]
        assert [name for name in names if f" {name} " not in said] == []


def test_the_address_of_a_database_is_not_passed_on(trained: Trained, history: History) -> None:
    model = copy(trained.model)
    model.funnel = model.funnel.model_copy(update={"source": Source(url="postgresql://ann:secret@db/crm")})

    html = report(replace(trained, model=model), history, "small")

    assert "secret" not in html
    assert "source.url (not shown)" in read_aloud(html)


@pytest.fixture(scope="module")
def hostile(small: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of a company that calls its stages, sources, owners and kinds of touch by markup."""
    folder = tmp_path_factory.mktemp("data") / "hostile"
    folder.mkdir()
    renamed = {"transitions": ["stage"], "leads": ["source"], "touches": ["kind", "by"], "changes": ["value"]}
    for name, columns in renamed.items():
        table = pd.read_csv(small / f"{name}.csv", dtype=str)
        for column in columns:
            named = table[column].notna() & (table[column] != "lost")
            named &= table["attribute"].eq("owner") if name == "changes" else True
            table.loc[named, column] = table.loc[named, column] + HOSTILE
        table.rename(columns={"industry": f"industry{HOSTILE}"}).to_csv(folder / f"{name}.csv", index=False)
    settings = (small / "funnel.toml").read_text(encoding="utf-8").replace('"industry"', f"'''industry{HOSTILE}'''")
    days = read_funnel(small / "funnel.toml").horizon_days
    names = ", ".join(f"'''{stage}{HOSTILE}'''" for stage in STAGES)
    horizons = "\n".join(f"{toml_key(stage + HOSTILE)} = {days[stage]}" for stage in STAGES[1:])
    handoff = f"'''mql{HOSTILE}''', '''sql{HOSTILE}'''"
    settings += f"\n[funnel]\nstages = [{names}]\nhandoff = [{handoff}]\n[horizon_days]\n{horizons}\n"
    (folder / "funnel.toml").write_text(settings, encoding="utf-8")
    tomllib.loads(settings)
    history = read_history(folder)
    return report(train(history, n_jobs=1), history, f"small{HOSTILE}", run_id=f"run{HOSTILE}")


def toml_key(name: str) -> str:
    return '"' + name.replace('"', '\\"') + '"'


def test_names_are_text_and_never_markup(hostile: str) -> None:
    assert "i" not in parsed(hostile).tags
    shown = escape(HOSTILE).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")
    for name in ("small", "run", *STAGES, "industry", "website"):
        assert f"{name}{shown}" in hostile, name


def test_segments_are_the_judged_leads_by_stage_and_category(trained: Trained, history: History) -> None:
    judged = trained.backtest.judged
    found = {split.by: {row[0].text: row[1:] for row in split.table.rows} for split in splits(history, judged)}

    assert list(found) == ["current stage", "source", "industry", "country", "owner"]
    known = ~np.isnan(judged.outcome).all(axis=1)
    here = known & (judged.stage == 0)
    part = judged.of(here)
    gain = loss_difference(part, part.base, part.probability)
    outcomes = judged.outcome[here][~np.isnan(judged.outcome[here])]
    assert found["current stage"]["lead"] == (
        Cell(counted(len(np.unique(judged.lead[here])))),
        Cell(counted(here.sum())),
        Cell(percent(outcomes.mean())),
        Cell(percent(part.pooled().probability.mean())),
        cell(gain, nats),
    )
    for name in ("source", "owner"):
        rows = [int(row[1].text.replace(",", "")) for row in found[name].values()]
        assert sum(rows) == known.sum()


def test_few_leads_have_no_interval(trained: Trained, history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leadscore.report.segments.SIZEABLE_LEADS", 10_000)

    cells = [row[-1].small for split in splits(history, trained.backtest.judged) for row in split.table.rows]

    assert set(cells) == {"too few leads to tell"}


def test_of_many_values_those_of_the_most_leads_are_shown(
    trained: Trained, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = {split.by: split for split in splits(history, trained.backtest.judged)}
    monkeypatch.setattr("leadscore.report.segments.MOST_VALUES", 2)
    cut = {split.by: split for split in splits(history, trained.backtest.judged)}

    assert cut["current stage"] == whole["current stage"]
    assert cut["source"].table.rows == whole["source"].table.rows[:2]
    assert cut["source"].left_out == len(whole["source"].table.rows) - 2


def test_drivers_are_shares_of_all_that_the_trees_gain(trained: Trained) -> None:
    model = trained.model
    booster = model.stages_[2].booster
    assert booster is not None
    gain = booster.feature_importance("gain")
    by_topic: dict[str, float] = {}
    for column, share in zip(model.columns_, gain / gain.sum(), strict=True):
        by_topic[column.topic] = by_topic.get(column.topic, 0) + share
    largest = sorted(by_topic, key=lambda topic: -by_topic[topic])

    found = driven(model, 2)

    assert [topic.name for topic in found.topics] == [topic_in_words(topic) for topic in largest[: len(found.topics)]]
    assert [topic.share for topic in found.topics] == [
        percent(by_topic[topic]) for topic in largest[: len(found.topics)]
    ]
    assert found.topics[0].width == 100


def test_every_point_of_a_drawing_is_within_its_frame(trained: Trained) -> None:
    for place in range(5):
        drawn = charts(trained.backtest.judged, place)
        assert drawn.calibration is not None
        assert drawn.gains is not None
        lines = (drawn.calibration.line, drawn.gains.ours, drawn.gains.base)
        at = [tuple(map(float, point.split(","))) for line in lines for point in line.split()]
        at += [(x, end) for x, _, *ends, _ in drawn.calibration.groups for end in ends]
        assert all(LEFT <= x <= RIGHT and TOP <= y <= BOTTOM for x, y in at)
        assert drawn.gains.ours.split()[0] == f"{float(LEFT)},{float(BOTTOM)}"
        assert drawn.gains.ours.split()[-1] == f"{float(RIGHT)},{float(TOP)}"


def test_numbers_are_written_for_people() -> None:
    assert percent(0.2134) == "21.3\xa0%"
    assert counted(1_234_567) == "1,234,567"
    assert points(-0.031) == "−3.1\xa0points"  # noqa: RUF001
    assert nats(0.01234) == "+0.0123"
    assert of_100(0.213) == "21"
    assert cell(Interval(0.05, 0.047, 0.061), percent) == Cell("5.0\xa0%", "4.7 to 6.1\xa0%")
    assert cell(Interval(0.05, math.nan, math.nan), percent) == Cell("5.0\xa0%")
    assert {write(math.nan) for write in (percent, counted, points, nats, of_100)} == {"–"}  # noqa: RUF001
    assert day(19_000 * DAY - 1, ZoneInfo("Europe/Berlin")) == "8 January 2022"
    assert [listed(["a", "b", "c"]), listed(["a"]), listed([])] == ["a, b and c", "a", ""]


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (Column("email_in_7d", "touches", "", "touches of kind email_in"), "inbound e-mails in the last 7 days"),
        (Column("call_1d", "touches", "", "touches of kind call"), "calls in the last 24 hours"),
        (Column("touch_all", "touches", "", "touches"), "touches so far"),
        (Column("days_since_last_call", "days", "", "touches of kind call"), "time since the last call"),
        (Column("employees_roundness", "divisors", "", "attribute employees"), "how round the number is"),
        (
            Column("gap_mean", "days", "mean time between touches; NaN with fewer", "touches"),
            "mean time between touches",
        ),
        (Column("stage", "place", "current stage; 0 is the first", "stage"), "current stage"),
    ],
)
def test_columns_are_named_in_words(column: Column, words: str) -> None:
    assert column_in_words(column) == words


def test_what_the_gate_would_hold_back_is_a_doubt(trained: Trained, history: History) -> None:
    model, found = sure(trained).model, replace(trained.findings, leaks=())
    better, worse, unsure = Interval(0.02, 0.01, 0.03), Interval(-0.02, -0.03, -0.01), Interval(-0.02, -0.05, 0.01)

    def held(name: str, loss: Interval, precision: Interval) -> tuple[str, ...]:
        peer = replace(trained.peers[0], name=name, loss_gain=loss, precision_gain=precision)
        order = {"order": 0.61, "order_least": 0.58}
        return doubts(model, replace(found, overall=found.overall | order), (peer,))

    assert held("logistic regression", better, unsure) == ()
    assert held("logistic regression", worse, worse) == (
        "on later mornings a logistic regression is clearly better in log loss and precision at capacity",
    )
    assert held("base rate", unsure, worse) == (
        "on later mornings the base rate is clearly better in precision at capacity",
    )
    assert held("oldest first", worse, worse) == ()
    chance = replace(found, overall=found.overall | {"order": 0.51, "order_least": 0.49})
    assert doubts(model, chance, ()) == ("on later mornings it orders leads no better than chance (order 0.510)",)
    assert doubts(serving_base_rates(model, STAGES[1:]), chance, ()) == ()
    assert doubts(model, replace(chance, leaks=(LEAK,)), ())[0] == str(LEAK)
    bound = copy(model)
    bound.stages_ = (replace(model.stages_[0], slope=float(np.exp(-3))), *model.stages_[1:])
    assert any("mql stands at its bound" in each for each in doubts(bound, found, ()))

    model = copy(model)
    model.doubts_ = doubts(model, chance, ())
    said = read_aloud(report(replace(sure(trained), model=model), history, "small"))
    assert "The gate would hold this model back. On later mornings it orders leads no better than chance" in said
