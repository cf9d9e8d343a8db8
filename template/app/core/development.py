"""The log of a developer's own terminal, which tells more than production's may."""

import logging
import re
import sysconfig
from pathlib import Path
from traceback import StackSummary

is_on = False  # set by `configure_logging`, before the first request

LONGEST = 1000  # characters of an error's text
KEYS = re.compile(r"\b(sk|pk|rk|ghp|xox[a-z])[-_][^\s'\"]+|(?<=://)[^\s/@]+(?=@)|(?<=Bearer )\S+")
LIBRARIES = (sysconfig.get_path("stdlib"), "<")
CORE = Path(__file__).parent
TEMPLATES = (str(CORE), str(CORE.parents[1] / "tests" / "core"))
NAMES = ("_transforms", "_tool_identity")  # modules of openai-agents that warn of tools' names


def owners_text(error: BaseException, frames: StackSummary) -> str:
    """The text of an error that tells the owner about their tools, agents or settings.

    It was raised in a file of theirs, or by openai-agents or a provider about how it is used.
    Empty for any other error: it may come of what a person wrote.
    """
    ours = [
        frame.filename
        for frame in frames
        if "site-packages" not in frame.filename and not frame.filename.startswith(LIBRARIES)
    ]
    is_misuse = type(error).__name__ == "UserError" or getattr(error, "status_code", 0) == 400
    if not is_misuse and (not ours or not _is_owners(ours[-1])):
        return ""
    return KEYS.sub("…", str(error))[:LONGEST]


def _is_owners(filename: str) -> bool:
    return not filename.startswith(TEMPLATES)


def is_about_names(record: logging.LogRecord) -> bool:
    """Tell whether a record warns of names of tools or agents, which are the owner's."""
    return record.name == "openai.agents" and record.module in NAMES


def speaks_freely(record: logging.LogRecord) -> bool:
    """Tell whether a record is openai-agents' while LOG_LEVEL is DEBUG."""
    is_sdk = record.name == "openai.agents"
    return is_sdk and logging.getLogger(record.name).isEnabledFor(logging.DEBUG)
