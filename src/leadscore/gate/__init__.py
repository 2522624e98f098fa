"""The gate: a candidate goes into service only if it is not worse than the champion from now on."""

from leadscore.gate.compare import compare
from leadscore.gate.recipe import as_read_by
from leadscore.gate.rules import SIZEABLE_LEADS, SIZEABLE_SHARE, segments
from leadscore.gate.verdict import Evidence, Rule, Verdict

__all__ = [
    "SIZEABLE_LEADS",
    "SIZEABLE_SHARE",
    "Evidence",
    "Rule",
    "Verdict",
    "as_read_by",
    "compare",
    "segments",
]
