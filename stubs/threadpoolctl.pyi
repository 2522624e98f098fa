"""What leadscore uses of threadpoolctl, which ships no types."""

from types import TracebackType

class threadpool_limits:  # noqa: N801 - its own name
    def __init__(self, limits: int, user_api: str | None = None) -> None: ...
    def __enter__(self) -> threadpool_limits: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
