from .store import PostgresSettings, PostgresStore, open_store

__all__ = ["PostgresSettings", "PostgresStore", "open_store"]
