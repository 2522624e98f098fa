"""Make a version of the model the champion: the newest, or the one that is named."""

from __future__ import annotations

import argparse
import logging

from leadscore.command import run
from leadscore.registry import model_name, promote

log = logging.getLogger("leadscore.promote")


def main() -> None:
    """Promote."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("version", type=int, nargs="?", help="default: the newest")
    moved = promote(parser.parse_args().version)
    log.info("%s: champion is version %d, was %s", model_name(), moved.version, moved.former or "none")


if __name__ == "__main__":
    run(main)
