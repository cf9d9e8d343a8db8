"""Where conversations are kept: `open_store` gives the store for the life of the application."""

from .memory import MemorySettings as StoreSettings
from .memory import open_store

__all__ = ["StoreSettings", "open_store"]
