"""An empty store for each test that wants one: `fresh` gives its settings.

The template's file: improvements arrive through `copier update`.
"""

from .memory import LIVE, counted, fresh

__all__ = ["LIVE", "counted", "fresh"]
