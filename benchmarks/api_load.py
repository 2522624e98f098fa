"""Load by wrk, a real HTTP load tool, on loopback and for seconds."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

CONNECTIONS = 8
UNITS_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0}
# A body for each request, each with an event that was never sent before.
FRESH_TOUCHES = """
local leads = {%s}
local sent = 0
math.randomseed(%d)
request = function()
  sent = sent + 1
  local body = string.format(
    '{"events":[{"type":"touch","lead_id":"%%s","kind":"email_open","direction":"inbound",' ..
    '"occurred_at":"%s","event_id":"%d-%%d"}]}', leads[math.random(#leads)], sent)
  return wrk.format("POST", "/v1/events", {["Content-Type"] = "application/json"}, body)
end
"""
SAME_BODY = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = %s
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What a server answered under load.

    Attributes
    ----------
    rps : float
        Requests per second.
    p50_ms, p99_ms : float
        Half and all but a hundredth were answered within so many milliseconds.
    refused : int
        Answers that were none of 2xx or 3xx, and connections that broke.
    """

    rps: float
    p50_ms: float
    p99_ms: float
    refused: int


def wrk() -> str:
    """The program."""
    program = shutil.which("wrk")
    if program is None:
        raise SystemExit("wrk is missing, the load tool: apt-get install wrk")
    return program


def loaded(url: str, seconds: int, *, script: Path | None = None, connections: int = CONNECTIONS) -> Load:
    """Load an address for some seconds."""
    command = [wrk(), "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    if script is not None:
        command += ["-s", str(script)]
    said = subprocess.run([*command, url], check=True, capture_output=True, text=True).stdout  # noqa: S603
    refused = sum(int(count) for count in re.findall(r"Non-2xx or 3xx responses: (\d+)", said))
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
    refused += sum(map(int, broken.groups())) if broken else 0
    rps = re.search(r"Requests/sec:\s*([\d.]+)", said)
    if rps is None:
        raise SystemExit(f"wrk said nothing of {url}:\n{said}")
    return Load(float(rps[1]), _percentile(said, 50), _percentile(said, 99), refused)


def _percentile(said: str, share: int) -> float:
    found = re.search(rf"^\s*{share}%\s+([\d.]+)(us|ms|s)$", said, re.MULTILINE)
    return float(found[1]) * UNITS_MS[found[2]] if found else float("nan")


def same_body(path: Path, body: object) -> Path:
    """A script for wrk that posts one body again and again."""
    path.write_text(SAME_BODY % json.dumps(json.dumps(body)), encoding="utf-8")
    return path


def fresh_touches(path: Path, lead_ids: list[str], occurred_at: str, seed: int) -> Path:
    """A script for wrk that posts one new touch after another, of leads at random."""
    path.write_text(FRESH_TOUCHES % (", ".join(map(json.dumps, lead_ids)), seed, occurred_at, seed), encoding="utf-8")
    return path
