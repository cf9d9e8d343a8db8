"""Names of tools that are made of agents' names: each its own, and a warning where two are one."""

import re
from collections import Counter
from hashlib import sha256
from typing import Any

from agents import Agent, FunctionTool, Handoff
from agents.util import _transforms

from ..errors import logger

VALID = re.compile("[a-zA-Z0-9_-]{1,64}")
_plain_name = _transforms.transform_string_function_style
_checked: set[str] = set()


def _unique_name(name: str, **rest: Any) -> str:
    """Make a tool's name of an agent's, as the SDK does, unique for other alphabets too.

    The SDK writes an underscore for each letter that is not ASCII, so two agents with Chinese
    names get the same tool, and of two hand-offs the first is dropped without a word.
    """
    made = _plain_name(name, **rest)
    return made if name.isascii() else f"{made[:55]}_{sha256(name.encode()).hexdigest()[:8]}"


_transforms.transform_string_function_style = _unique_name


def warn_of_collisions(agent: Agent[Any]) -> None:
    """Log, once an agent, the names that several of its tools and hand-offs share.

    The SDK keeps the last of them, and its own warning names none.
    """
    if agent.name in _checked:
        return
    _checked.add(agent.name)
    names = [tool.name for tool in agent.tools if isinstance(tool, FunctionTool)]
    for one in agent.handoffs:
        names.append(one.tool_name if isinstance(one, Handoff) else Handoff.default_tool_name(one))
    for name, count in Counter(names).items():
        if count > 1:
            told = "agent %r has %d tools or hand-offs of the name %r: only the last can be called"
            logger.warning(told, agent.name, count, name)


def with_valid_name(item: Any) -> Any:
    """Give a tool's call in a model's input a name that providers accept.

    A model may call a tool that it made up, such as `functions.weather`. Providers refuse a
    request with such a name in its history, and so every later turn of the thread.
    """
    if not isinstance(item, dict) or item.get("type") != "function_call":
        return item
    name = str(item.get("name"))
    if VALID.fullmatch(name):
        return item
    return item | {"name": re.sub("[^a-zA-Z0-9_-]", "_", name)[:64] or "unknown"}
