"""Funnels that ship with the package, as TOML that `config` reads."""
