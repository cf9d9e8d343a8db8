"""What the desk's assistant can do. Yours.

No argument says whose order it is: that is `ctx.context.request_context`, which nobody can talk to.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import Literal

from agents import function_tool
from chatkit.agents import ClientToolCall
from chatkit.types import ClientEffectEvent, ProgressUpdateEvent
from chatkit.widgets import WidgetRoot

from ..core.agent import ToolContext
from ..widgets import Letter, OrderLine, OrderList, ProblemForm, Spending, Spent
from .orders import Order, card_of, find, orders_of

POLICY = "You may send back what you bought within **30 days**, unused, at our cost."


@function_tool
async def list_orders(
    ctx: ToolContext, status: Literal["all", "open", "shipped", "cancelled"] = "all"
) -> str:
    """Show the customer a list of their orders; they can see it themselves.

    Args:
        status: Only those of this status.
    """
    await ctx.context.stream(ProgressUpdateEvent(icon="search", text="Looking up your orders"))
    orders = orders_of(ctx.context.request_context)
    found = [OrderLine(**vars(order)) for order in orders if status in ("all", order.status)]
    await ctx.context.stream_widget(OrderList(heading="Your orders", lines=found).build())
    return "; ".join(f"{one.number} {one.title}, {one.status}" for one in found) or "none"


@function_tool
async def show_order(ctx: ToolContext, order: int) -> str:
    """Show the customer one of their orders as a card.

    Args:
        order: The order's number.
    """
    found = find(ctx.context.request_context, order)
    await ctx.context.stream_widget(card_of(found))
    return f"{found.title}, {found.status}"


async def ask_carrier(order: Order) -> str:
    """Where the parcel is: put your carrier's interface here."""
    await asyncio.sleep(0.2)
    return "it arrives tomorrow" if order.status == "shipped" else "it has not been sent yet"


@function_tool(timeout=10)
async def track_parcel(ctx: ToolContext, order: int) -> str:
    """Ask the carrier where the parcel of an order is.

    Args:
        order: The order's number.
    """
    found = find(ctx.context.request_context, order)
    await ctx.context.stream(ProgressUpdateEvent(icon="maps", text="Asking the carrier"))
    return await ask_carrier(found)


@function_tool(needs_approval=True)
async def cancel_order(ctx: ToolContext, order: int) -> str:
    """Cancel an order that has not been sent. The customer is asked before it happens.

    Args:
        order: The order's number.
    """
    found = find(ctx.context.request_context, order)
    if found.status == "open":
        found.status = "cancelled"
    return f"Order {order} is {found.status}."


@function_tool
async def report_problem(ctx: ToolContext, order: int) -> str:
    """Give the customer a form in which to say what is wrong with an order.

    Args:
        order: The order's number.
    """
    found = find(ctx.context.request_context, order)
    form = ProblemForm(number=order, title=found.title, sent="")
    await ctx.context.stream_widget(form.build())
    return "The form is shown."


@function_tool
async def show_spending(ctx: ToolContext) -> str:
    """Show the customer a chart of what they spent by month."""
    data = [Spent(**vars(order)) for order in orders_of(ctx.context.request_context)]
    await ctx.context.stream_widget(Spending(title="Spending", data=data).build())
    return f"{sum(one.price for one in data):.2f} EUR in all"


@function_tool
async def return_policy(ctx: ToolContext) -> str:
    """Show the customer how to send something back."""

    async def letter() -> AsyncGenerator[WidgetRoot, None]:
        words = POLICY.split()
        for count in range(1, len(words)):
            text = " ".join(words[:count])
            yield Letter(title="Returns", text=text, streaming=True).build()
            await asyncio.sleep(0.02)
        yield Letter(title="Returns", text=POLICY, streaming=False).build()

    await ctx.context.stream_widget(letter())
    return POLICY


@function_tool
async def point_at_order(ctx: ToolContext, order: int) -> str:
    """Point at an order on the page that the customer has open.

    Args:
        order: The order's number.
    """
    found = find(ctx.context.request_context, order)
    data = {"order": found.number}
    await ctx.context.stream(ClientEffectEvent(name="point_at_order", data=data))
    return f"The page points at {found.title}."


@function_tool
async def current_page(ctx: ToolContext) -> str:
    """Ask the customer's browser which page of the shop is open."""
    ctx.context.client_tool_call = ClientToolCall(name="current_page", arguments={})
    return "The browser has not answered."


tools = [list_orders, show_order, track_parcel, cancel_order, report_problem, show_spending]
tools += [return_policy, point_at_order, current_page]
