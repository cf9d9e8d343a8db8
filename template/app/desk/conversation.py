"""Tools that show more than text: a question, steps, sources, a notice, an end. Yours."""

import asyncio

from agents import function_tool
from chatkit import types as ck

from ..core.agent import ToolContext
from ..core.production import ask, cite
from .orders import find, orders_of

Choice = ck.StructuredInputMultipleChoiceOption
Question = ck.StructuredInputMultipleChoice
RULES = "https://www.example.com/rules"


@function_tool
async def ask_which_order(ctx: ToolContext) -> str:
    """Ask the customer which of their orders they mean; the answer begins the next turn."""
    about = ctx.context
    options = [Choice(value=f"{o.number} {o.title}") for o in orders_of(about.request_context)]
    question = "Which order is it about?"
    return await ask(about, Question(id="order", question=question, options=options))


@function_tool
async def check_return(ctx: ToolContext, order: int) -> str:
    """Check whether an order can be sent back; the customer sees the steps.

    Args:
        order: The order's number.
    """
    about = ctx.context
    found = find(about.request_context, order)
    await about.add_workflow_task(ck.CustomTask(title=f"Found {found.title}", icon="search"))
    await asyncio.sleep(0.1)
    await about.add_workflow_task(ck.CustomTask(title="Read the rules", icon="document"))
    await about.end_workflow(ck.CustomSummary(title="Checked the return"))
    return "It can be sent back." if found.status == "shipped" else "It was never sent."


@function_tool
async def shop_rules(ctx: ToolContext) -> str:
    """The shop's rules for sending something back; their source is shown below the answer."""
    await cite(ctx.context, ck.URLSource(url=RULES, title="The shop's rules"))
    return "What is unused may be sent back within 30 days."


@function_tool
async def close_conversation(ctx: ToolContext) -> str:
    """End this conversation for good, when the customer asks for it."""
    ctx.context.thread.status = ck.ClosedStatus(reason="You have ended this conversation.")
    text = "This conversation is closed. Begin a new one at any time."
    await ctx.context.stream(ck.NoticeEvent(level="info", message=text))
    return "It is closed."


tools = [ask_which_order, check_return, shop_rules, close_conversation]
