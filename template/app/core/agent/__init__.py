"""Agents: the door for files that define an agent and its tools.

from agents import function_tool

from .core.agent import ToolContext, ToolError

@function_tool
async def cancel_order(ctx: ToolContext, number: int) -> str:  # its docstring is for the model
    raise ToolError(f"{ctx.context.request_context.user_id} has no order {number}.")
"""

from typing import TYPE_CHECKING

from ..lazy import lazy

if TYPE_CHECKING:
    from .model_errors import ToolError
    from .run import AgentServer, Context, RunSettings, ToolContext
else:
    __getattr__ = lazy(
        __name__,
        {
            ".model_errors": ("ToolError",),
            ".run": ("AgentServer", "Context", "RunSettings", "ToolContext"),
        },
    )

__all__ = [
    "AgentServer",
    "Context",
    "RunSettings",
    "ToolContext",
    "ToolError",
]
