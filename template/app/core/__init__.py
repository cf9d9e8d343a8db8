"""The template's part of this project: improved by `copier update`, never edited.

This is the first of its three doors. Your files import from here, from `.core.agent` and from
`.core.production`; the modules behind a door may change with any update.

    from .core import create_app
    from .server import Server

    app = create_app(Server)
"""

import logging
import os
from typing import TYPE_CHECKING

from .lazy import lazy

# chatkit reads LOG_LEVEL when it is imported, and raises ValueError for a level that it does not
# know. Stop here, before any door imports it, with a sentence.
if (os.environ.get("LOG_LEVEL") or "INFO").upper() not in logging.getLevelNamesMapping():
    raise SystemExit("LOG_LEVEL does not fit: set it to DEBUG, INFO, WARNING or ERROR.")

if TYPE_CHECKING:
    from .application import create_app
    from .chat_server import BaseServer, Events
    from .config import AppSettings, Section, load
    from .context import RequestContext
    from .errors import ApiError, StoreUnavailable, logger, not_supported
    from .store import StoreSettings, open_store
    from .store.base import BaseStore, new_id
else:
    __getattr__ = lazy(
        __name__,
        {
            ".application": ("create_app",),
            ".chat_server": ("BaseServer", "Events"),
            ".config": ("AppSettings", "Section", "load"),
            ".context": ("RequestContext",),
            ".errors": ("ApiError", "StoreUnavailable", "logger", "not_supported"),
            ".store": ("StoreSettings", "open_store"),
            ".store.base": ("BaseStore", "new_id"),
        },
    )

__all__ = [
    "ApiError",
    "AppSettings",
    "BaseServer",
    "BaseStore",
    "Events",
    "RequestContext",
    "Section",
    "StoreSettings",
    "StoreUnavailable",
    "create_app",
    "load",
    "logger",
    "new_id",
    "not_supported",
    "open_store",
]
