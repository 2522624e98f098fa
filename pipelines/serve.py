"""Serve scores over HTTP; settings are environment variables that begin with LEADSCORE_."""

from __future__ import annotations

from pydantic import ValidationError

from leadscore.api.serving import serve
from leadscore.api.settings import ServiceSettings
from leadscore.command import run
from leadscore.errors import ConfigError


def main() -> None:
    """Read the settings, serve."""
    try:
        settings = ServiceSettings()
    except ValidationError as error:
        said = "; ".join(f"LEADSCORE_{str(each['loc'][0]).upper()}: {each['msg']}" for each in error.errors())
        raise ConfigError(said) from None
    serve(settings)


if __name__ == "__main__":
    run(main)
