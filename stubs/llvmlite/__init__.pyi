"""What leadscore uses of llvmlite, which ships no types."""
