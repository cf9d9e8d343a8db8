"""The schema of the PostgreSQL store: Alembic applies `migrations/` to a database."""

from pathlib import Path
from threading import Lock

HEAD = "0004"  # the newest revision; what this version of the application needs
FOREIGN = (
    "its tables are another program's: name another database, or a schema of its own, "
    "in DATABASE_URL (postgresql://…/name?options=-csearch_path%3Dchat)"
)
MIGRATIONS = Path(__file__).parents[4] / "migrations"
_LOCK = Lock()  # Alembic keeps its state in a module


def migrate(conninfo: str, revision: str = "head") -> None:
    """Bring the schema to `revision`; "base" takes all of it away, with its data.

    Several processes may call it at once: one does the work.
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes.update(conninfo=conninfo, store=__package__)
    with _LOCK:
        (command.downgrade if revision == "base" else command.upgrade)(config, revision)
