"""Everything that the report says, and the template that it is said with."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from jinja2 import Environment, StrictUndefined

from leadscore.gate import SIZEABLE_LEADS
from leadscore.report import charts, drivers, segments, tables
from leadscore.report.headline import headline

if TYPE_CHECKING:
    from leadscore.history import History
    from leadscore.training import Trained

TEMPLATE = "report.html.jinja"


def report(
    trained: Trained, history: History, name: str, *, run_id: str | None = None, trained_at: int | None = None
) -> str:
    """The report of a training run as HTML: one file, without scripts, that loads nothing.

    The same arguments give the same report, to the letter.

    Parameters
    ----------
    history : History
        What was learnt from.
    name : str
        What the data set is called.
    run_id : str, optional
        The MLflow run.
    trained_at : int, optional
        When it began, in microseconds since 1970 UTC.
    """
    judged, model = trained.backtest.judged, trained.model
    places = range(len(model.funnel.later_stages))
    # Whatever the ending of the template: names of stages, categories and data sets are anybody's text.
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((files("leadscore.report") / TEMPLATE).read_text(encoding="utf-8"))
    return template.render(
        name=name,
        run_id=run_id,
        first=headline(trained, history, trained_at),
        about_the_data=history.warnings,
        learnt_from=tables.learnt_from(trained, history),
        outcomes=tables.outcomes(trained),
        pairs=tables.pairs(trained),
        stages=tables.stages(trained),
        leaks=tables.leaks(trained.findings.leaks),
        baselines=tables.baselines(trained),
        drawing=charts,
        charts=[charts.charts(judged, place) for place in places],
        drivers=[drivers.driven(model, place) for place in places],
        splits=segments.splits(history, judged),
        few=SIZEABLE_LEADS,
        stages_by_current=tables.stages_by_current(trained),
        command=tables.command(name),
        origin=tables.origin(trained, history, name, run_id),
        settings=tables.settings(model.funnel),
    )
