"""Other agents of the desk: one that takes over, and one that names conversations. Yours."""

from agents import Agent, function_tool

from ..core.agent import Context, ToolContext
from .orders import find


@function_tool
async def refund_order(ctx: ToolContext, order: int) -> str:
    """Give the customer their money back for an order that was cancelled.

    Args:
        order: The order's number.
    """
    found = find(ctx.context.request_context, order)
    if found.status != "cancelled":
        return f"Order {order} is {found.status}: only a cancelled one is refunded."
    return f"{found.price:.2f} EUR for order {order} are on their way."


refunds = Agent[Context](
    name="Refunds",
    handoff_description="Pays customers their money back.",
    instructions="You look after refunds. Answer briefly, in the language of the question.",
    tools=[refund_order],
)

titler = Agent[Context](
    name="Titles",
    instructions="Name the conversation that this message begins: at most five words, in its "
    "language, without quotes.",
)
