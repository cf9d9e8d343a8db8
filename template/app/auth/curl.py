"""A message to this server as a line for the shell, for development only.

The template's file: improvements arrive through `copier update`.
"""

import json
import os
import shlex
import sys
from importlib.util import find_spec
from typing import TypeVar

from ..config import Section, load

# The offline model calls a tool that is named.
TEXT = "Please roll dice: count 2" if find_spec("..tools", __package__) else "Hello"
INPUT = {"content": [{"type": "input_text", "text": TEXT}], "attachments": []}
HERE = os.environ.get("URL", "http://127.0.0.1:8000").rstrip("/")
BODY = {"type": "threads.create", "params": {"input": INPUT | {"inference_options": {}}}}

Settings = TypeVar("Settings", bound=Section)


def development(kind: type[Settings]) -> Settings:
    """The settings. Raises SystemExit in production, where nobody is to be made up."""
    settings = load(kind)
    if settings.is_production:
        raise SystemExit("APP_ENV is production: this is for development only.")
    return settings


def curl(*options: str) -> str:
    """A `curl` that begins a thread; `options` say who does."""
    fixed = ("-H", "content-type: application/json", "-d", json.dumps(BODY))
    return shlex.join(("curl", "-N", f"{HERE}/chatkit", *options, *fixed))


def sender() -> str:
    """Whom the command names, else `dev`."""
    name = [*sys.argv[1:], "dev"][0]
    if name.startswith("-"):
        raise SystemExit("Give a user's id, or nothing for dev; URL=http://… for another address.")
    return name
