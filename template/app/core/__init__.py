"""The template's part of this project: improved by `copier update`, never edited."""

import logging
import os

# chatkit reads this variable when it is imported, and ends in a traceback on a level unknown to it.
if (os.environ.get("LOG_LEVEL") or "INFO").upper() not in logging.getLevelNamesMapping():
    raise SystemExit("LOG_LEVEL does not fit: set it to DEBUG, INFO, WARNING or ERROR.")
