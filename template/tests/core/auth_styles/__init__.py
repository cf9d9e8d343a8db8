"""People for the tests, as this project tells them apart."""

from collections.abc import Callable

from . import anonymous as style
from .anonymous import LIVE, SETTINGS, newcomer

# Headers by which the server takes someone for nobody; absent where whoever comes is somebody.
nobody: Callable[[], dict[str, str]] | None = getattr(style, "nobody", None)

__all__ = ["LIVE", "SETTINGS", "newcomer", "nobody"]
