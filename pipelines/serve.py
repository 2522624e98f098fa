"""Serve scores over HTTP; settings are environment variables that begin with LEADSCORE_."""

from __future__ import annotations

from leadscore.api.serving import serve
from leadscore.api.settings import service_settings
from leadscore.command import run


def main() -> None:
    """Read the settings, serve."""
    serve(service_settings())


if __name__ == "__main__":
    run(main)
