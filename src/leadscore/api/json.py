"""Answers in JSON."""

from __future__ import annotations

from typing import Any

from fastapi import Response
from pydantic_core import to_json

MEDIA_TYPE = "application/json"


class JSON(Response):
    """An answer in JSON; each number is written so that it reads back as the same bits."""

    media_type = MEDIA_TYPE

    def render(self, content: Any) -> bytes:
        """The body."""
        return to_json(content, inf_nan_mode="null")
