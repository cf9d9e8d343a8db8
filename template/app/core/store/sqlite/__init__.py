from .store import SqliteSettings, SqliteStore, open_store

__all__ = ["SqliteSettings", "SqliteStore", "open_store"]
