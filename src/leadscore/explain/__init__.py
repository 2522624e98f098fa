"""Why a lead stands where it stands, in sentences."""

from leadscore.explain.changes import Change, changes
from leadscore.explain.reasons import Reason, Reasons, explain

__all__ = ["Change", "Reason", "Reasons", "changes", "explain"]
