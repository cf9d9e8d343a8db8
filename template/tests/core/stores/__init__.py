"""An empty store for each test that wants one: `fresh` gives its settings."""

from .memory import (
    LIVE,
    at_rest,
    contended,
    counted,
    fresh,
)

__all__ = ["LIVE", "at_rest", "contended", "counted", "fresh"]
