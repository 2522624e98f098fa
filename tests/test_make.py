"""What `make` hands to the shell."""

from __future__ import annotations

import shlex
import subprocess
from functools import cache
from typing import TYPE_CHECKING

import pytest

from tests.test_docs import ROOT, TARGETS, make_variables

if TYPE_CHECKING:
    from pathlib import Path

# Those that are several words, and those that only say yes.
NO_VALUES = {"ARGS", "QUARANTINE", "WHOLE", "CONFIRM"}
VALUES = {name: f'{name} it\'s "one" word; & *, (no more)' for name in sorted(make_variables() - NO_VALUES)}


@cache
def words() -> list[str]:
    """The words of every command of every target but `help`, which only prints, where each variable has a value."""
    given = [f"{name}={value}" for name, value in VALUES.items()]
    command = ["make", "--dry-run", "--always-make", *given, *(each for each in TARGETS if each != "help")]
    return shlex.split(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize("variable", VALUES)
def test_the_value_of_a_variable_is_one_word_whatever_is_in_it(variable: str) -> None:
    having = {word.removesuffix("/funnel.toml") for word in words() if word.startswith(variable)}

    assert having == {VALUES[variable]}


def test_a_data_set_may_stand_in_a_folder_with_a_space(tmp_path: Path) -> None:
    folder = tmp_path / "two words"
    folder.mkdir()
    command = ["make", "--dry-run", "demo", f"DATA={folder}"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)

    assert told.stderr == ""  # what looks whether the sample is there runs for real
    assert f"rank.py '{folder}'" in told.stdout
