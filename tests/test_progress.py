"""A person at a terminal sees how far long work is; a log does not."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import termios

WORK = """
import time
from leadscore.progress import progress
with progress("reading touches", "rows", 4) as bar:
    for _ in range(4):
        time.sleep(0.5)
        bar.update()
"""


def test_a_terminal_shows_a_bar_and_is_left_clean() -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    subprocess.run([sys.executable, "-c", WORK], check=True, stderr=theirs)
    os.set_blocking(ours, False)
    shown = os.read(ours, 1 << 16).decode()
    os.close(theirs)
    os.close(ours)

    assert "reading touches: " in shown
    assert "rows/s" in shown
    # The last thing written is a blank line over the bar.
    assert not shown.rsplit("\r", 2)[-2].strip()


def test_a_log_shows_none() -> None:
    ran = subprocess.run([sys.executable, "-c", WORK], check=True, stderr=subprocess.PIPE, text=True)

    assert not ran.stderr
