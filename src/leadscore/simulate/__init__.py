"""An invented B2B CRM whose true probabilities are known."""

from leadscore.simulate.write import TRUTH_FROM, Simulated, simulate

__all__ = ["TRUTH_FROM", "Simulated", "simulate"]
