"""A search for settings in MLflow: one run for the search, found again when it goes on, and one below it per trial."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version as version_of
from typing import TYPE_CHECKING

import mlflow
from mlflow.entities import RunStatus

from leadscore.registry.connection import connected, experiment_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from collections.abc import Set as AbstractSet

SEARCH, TRIAL, OWN = "leadscore.search", "leadscore.trial", "leadscore.own_settings"
GIVEN_UP = RunStatus.to_string(RunStatus.KILLED)


@dataclass(frozen=True, slots=True)
class SearchRun:
    """The run of a search, under way.

    Attributes
    ----------
    client : MlflowClient
        Of the store that it stands in.
    run_id, experiment_id : str
        The run itself, and the experiment that its trials stand in too.
    """

    client: mlflow.MlflowClient
    run_id: str
    experiment_id: str

    @contextmanager
    def trial(self, number: int, settings: Mapping[str, object], *, own: bool) -> Iterator[None]:
        """The run of a trial for as long as the block takes; `log` in it is of the trial.

        Parameters
        ----------
        own : bool
            Whether these are the funnel's own settings.
        """
        tags = {TRIAL: str(number), OWN: str(own).lower()}
        name = f"trial {number}"
        with mlflow.start_run(experiment_id=self.experiment_id, run_name=name, nested=True, tags=tags):
            mlflow.log_params(dict(settings))
            yield

    def log(self, figures: Mapping[str, float]) -> None:
        """Note figures: of the trial under way, or of the search where none is."""
        mlflow.log_metrics(dict(figures))

    def give_up(self, counted: AbstractSet[int]) -> None:
        """Mark the runs of all trials but those counted as killed: nobody works on them any more."""
        below, token = f"tags.`mlflow.parentRunId` = '{self.run_id}' and attributes.status != '{GIVEN_UP}'", None
        left: list[str] = []
        while token != "":
            page = self.client.search_runs([self.experiment_id], below, page_token=token)
            left += [each.info.run_id for each in page if int(each.data.tags[TRIAL]) not in counted]
            token = page.token or ""
        for run_id in left:
            self.client.set_terminated(run_id, GIVEN_UP)


@contextmanager
def search_run(key: str, tags: Mapping[str, str]) -> Iterator[SearchRun]:
    """The run of the search with this key, for as long as the block takes: the same one when the search goes on.

    Parameters
    ----------
    key : str
        What the search is known by, in letters and digits.
    tags : mapping
        What whoever looks at a list of runs should see.

    Raises
    ------
    RegistryError
        MLflow refuses, or cannot be reached.
    """
    with connected() as client:
        place = experiment_id(client)
        found = client.search_runs([place], f"tags.`{SEARCH}` = '{key}'", max_results=1)
        again = found[0].info.run_id if found else None
        every = {SEARCH: key, "leadscore.version": version_of("leadscore")} | dict(tags)
        name = None if again else f"search {key[:8]}"
        with mlflow.start_run(run_id=again, experiment_id=place, run_name=name, tags=every) as run:
            yield SearchRun(client, run.info.run_id, place)
