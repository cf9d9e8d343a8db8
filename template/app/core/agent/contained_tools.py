"""Tools that fail where they would have ended the turn or the process."""

import inspect
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

from agents import FunctionTool, Tool

# The Agents SDK runs a synchronous tool by `asyncio.to_thread`. On Python 3.11 a StopIteration
# never ends that thread's future, so the turn hangs. SystemExit (argparse and click raise it) and
# KeyboardInterrupt leave the event loop, so the server's process ends.
ENDINGS = (StopIteration, SystemExit, KeyboardInterrupt)


class ToolEnded(Exception):
    """A tool raised what would have ended more than the tool."""


def contain(tools: Iterable[Tool]) -> None:
    """Let the tools raise ToolEnded instead, which the SDK handles as a failed tool.

    The conversion has to be around the function itself, in its thread. The SDK keeps the function
    in a variable of its own, `the_func`; a tool of another kind is wrapped as a whole.
    """
    for tool in tools:
        if isinstance(tool, FunctionTool):
            _contain(tool)


def _contain(tool: FunctionTool) -> None:
    invoker: Any = tool.on_invoke_tool
    inner: Any = getattr(invoker, "_invoke_tool_impl", None)
    names = getattr(getattr(inner, "__code__", None), "co_freevars", ())
    if "the_func" in names:
        cell = inner.__closure__[names.index("the_func")]
        cell.cell_contents = _contained(cell.cell_contents)
    elif inner is not None:
        invoker._invoke_tool_impl = _contained(inner)
    else:
        tool.on_invoke_tool = _contained(invoker)


def _contained(function: Callable[..., Any]) -> Callable[..., Any]:
    if hasattr(function, "_is_contained"):
        return function

    @wraps(function)
    async def awaited(*args: Any, **rest: Any) -> Any:
        try:
            return await function(*args, **rest)
        except ENDINGS as error:
            raise _ended(error) from None

    @wraps(function)
    def called(*args: Any, **rest: Any) -> Any:
        try:
            return function(*args, **rest)
        except ENDINGS as error:
            raise _ended(error) from None

    call = getattr(function, "__call__", None)  # noqa: B004, it may be an object's method
    is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)
    wrapped: Any = awaited if is_async else called
    wrapped._is_contained = True
    return wrapped  # type: ignore[no-any-return]


def _ended(error: BaseException) -> ToolEnded:
    return ToolEnded(type(error).__name__).with_traceback(error.__traceback__)
