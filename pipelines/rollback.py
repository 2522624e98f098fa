"""Make the former champion the champion again."""

from __future__ import annotations

import argparse
import logging

from leadscore.command import run
from leadscore.registry import model_name, rollback

log = logging.getLogger("leadscore.rollback")


def main() -> None:
    """Roll back."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    moved = rollback()
    log.info("%s: champion is version %d again, was %s", model_name(), moved.version, moved.former or "none")


if __name__ == "__main__":
    run(main)
