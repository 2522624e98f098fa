"""What can be asked for is documented, and what is documented can be asked for."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Union, get_args, get_origin

import pytest

from leadscore.api.settings import ServiceSettings
from leadscore.config import Funnel, Section, read_funnel

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)[1].split()  # type: ignore[index]
MADE = (".venv/", "models/", "ranked/", "reports/", "build/")


@pytest.fixture(scope="module")
def readme() -> str:
    return README.read_text(encoding="utf-8")


def sections(kind: object) -> Iterator[type[Section]]:
    """The sections that a field's type holds."""
    if isinstance(kind, type) and issubclass(kind, Section):
        yield kind
    elif get_origin(kind) in {dict, Union, UnionType}:
        for inner in get_args(kind):
            yield from sections(inner)


def settings() -> list[str]:
    """Every setting of ``funnel.toml``, as ``section.name``."""
    found = ["preset"]
    for name, field in Funnel.model_fields.items():
        key = f"{name}.<table>" if get_origin(field.annotation) is dict else name
        inner = [f"{key}.{setting}" for section in sections(field.annotation) for setting in section.model_fields]
        found += inner or [name]
    return found


def environment_variables() -> set[str]:
    """Every variable that the code, the Makefile or CI reads or sets."""
    files = [*ROOT.glob("src/**/*.py"), *ROOT.glob("pipelines/*.py"), *ROOT.glob("tests/conftest.py")]
    text = "".join(path.read_text() for path in [*files, ROOT / "Makefile", ROOT / ".ci" / "run"])
    read = re.findall(r"""(?:environ(?:\.get|\.setdefault)?[(\[]|getenv\()\s*["'](\w+)["']""", text)
    return set(read) | set(re.findall(r"\b(?:MLFLOW|LEADSCORE)_[A-Z]\w+\b", text))


def make_variables() -> set[str]:
    """Every variable that a target takes from the command line."""
    used = set(re.findall(r"\$\(([A-Z]\w+)\)", MAKEFILE)) | set(re.findall(r"\$\(if \$\(([A-Z]\w+)\)", MAKEFILE))
    set_here = set(re.findall(r"^(?:export )?([A-Z]\w+) :=", MAKEFILE, re.MULTILINE))
    return used - set_here - {"MAKE", "CURDIR", "PATH", "MLFLOW_TRACKING_URI"}


def shell_lines(text: str) -> list[str]:
    blocks = re.findall(r"^```(?:sh|bash|console|shell)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line.removeprefix("$ ").split(" #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("target", TARGETS)
def test_every_make_target_is_in_the_readme(readme: str, target: str) -> None:
    assert re.search(rf"make {target}\b(?!-)", readme), f"README.md does not say what `make {target}` does"


@pytest.mark.parametrize("setting", settings())
def test_every_setting_is_in_the_readme(readme: str, setting: str) -> None:
    assert f"`{setting}`" in readme, f"README.md does not say what `{setting}` means"


@pytest.mark.parametrize("setting", ServiceSettings.model_fields)
def test_every_setting_of_the_service_is_in_the_readme(readme: str, setting: str) -> None:
    assert f"`LEADSCORE_{setting.upper()}`" in readme, f"README.md does not say what {setting} of the service means"


@pytest.mark.parametrize("variable", sorted(environment_variables()))
def test_every_environment_variable_is_in_the_readme(readme: str, variable: str) -> None:
    assert f"`{variable}`" in readme, f"README.md does not say what `{variable}` means"


@pytest.mark.parametrize("variable", sorted(make_variables()))
def test_every_variable_of_make_is_in_the_readme_and_in_the_help(readme: str, variable: str) -> None:
    assert f"{variable}=" in helped()
    assert f"{variable}=" in readme


def test_the_settings_shown_in_the_readme_are_read(readme: str, tmp_path: Path) -> None:
    blocks = re.findall(r"^```toml\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    path = tmp_path / "funnel.toml"
    path.write_text("\n".join(blocks), encoding="utf-8")

    assert read_funnel(path).tables["transitions"].columns["stage"] == "To Stage"


def test_make_alone_lists_every_target_with_a_line() -> None:
    listed = dict(re.findall(r"^  ([a-z0-9-]+) +(\S.*)$", helped(), re.MULTILINE))
    ruled = re.findall(r"^([a-z][a-z0-9-]*):", MAKEFILE, re.MULTILINE)

    assert list(listed) == TARGETS
    assert sorted(ruled) == sorted(TARGETS)


def test_the_readme_has_shell_blocks(readme: str) -> None:
    assert shell_lines(readme)


def test_shell_blocks_of_the_readme_name_targets_and_files_that_exist(readme: str) -> None:
    for line in shell_lines(readme):
        words = line.split()
        if "make" in words:
            for word in words[words.index("make") + 1 :]:
                assert "=" in word or word in TARGETS, f"{line}: no target {word}"
        for word in words:
            path = word.split("=")[-1].strip("'\"")
            if re.fullmatch(r"\.{0,1}[\w-]+(/[\w.-]+)+/?", path) and not path.startswith(MADE):
                assert (ROOT / path).exists(), f"{line}: no such file {path}"


@pytest.mark.parametrize("name", ["models", "notebooks", "data/sample"])
def test_a_folder_says_what_it_holds(name: str) -> None:
    assert (ROOT / name / "README.md").is_file()


def helped() -> str:
    return subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
