"""A message to this server as a line for the shell, for development only."""

import json
import shlex
from importlib.util import find_spec
from typing import TypeVar

from ..config import Section, load

# The offline model calls a tool that is named.
TEXT = "Please roll dice: count 2" if find_spec("...tools", __package__) else "Hello"
INPUT = {"content": [{"type": "input_text", "text": TEXT}], "attachments": []}
BODY = {"type": "threads.create", "params": {"input": INPUT | {"inference_options": {}}}}

Settings = TypeVar("Settings", bound=Section)


def development(kind: type[Settings]) -> Settings:
    """The settings. Raises SystemExit in production, where nobody is to be made up."""
    settings = load(kind)
    if settings.is_production:
        raise SystemExit("APP_ENV is production: this is for development only.")
    return settings


def curl(url: str, *options: str) -> str:
    """A `curl` command that starts a thread on the server at `url`; `options` identify the user."""
    fixed = ("-H", "content-type: application/json", "-d", json.dumps(BODY))
    return shlex.join(("curl", "-N", f"{url}/chatkit", *options, *fixed))
