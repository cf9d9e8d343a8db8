"""The tools that the agent may call: this file is yours.

The model reads a tool's name, its arguments and its docstring. `ctx.context.request_context`
says who is asking: take the person's identity from there, never from an argument.
"""

import random
from typing import Literal

from agents import function_tool

from .core.agent import ToolContext


@function_tool
async def roll_dice(ctx: ToolContext, count: int = 1, sides: Literal["6", "12", "20"] = "6") -> str:
    """Roll dice and give the result of each.

    Args:
        count: How many dice to roll, at most 20.
        sides: How many sides each die has.
    """
    rolls = [random.randint(1, int(sides)) for _ in range(min(count, 20))]
    return f"{', '.join(map(str, rolls))} (sum {sum(rolls)})"
