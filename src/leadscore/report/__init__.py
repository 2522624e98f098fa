"""The report of a training run: one HTML file that needs nothing beside it, for those who will work with the list."""

from leadscore.report.page import report

__all__ = ["report"]
