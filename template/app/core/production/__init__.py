"""The production level: the door for widgets, actions, questions, sources and guardrails.

from ..core.production import ActionContext, Actions

actions = Actions()

@actions.on("order.watch", WatchOrder)
async def watch(action: ActionContext, payload: WatchOrder) -> WidgetRoot: ...
"""

from typing import TYPE_CHECKING

from ..lazy import lazy

if TYPE_CHECKING:
    from .actions import ActionContext, Actions, PageActionContext
    from .entries import Explain
    from .guardrails import new_text
    from .server import ProductionServer
    from .sources import ask, cite
    from .widget import Widget
else:
    __getattr__ = lazy(
        __name__,
        {
            ".actions": ("ActionContext", "Actions", "PageActionContext"),
            ".entries": ("Explain",),
            ".guardrails": ("new_text",),
            ".server": ("ProductionServer",),
            ".sources": ("ask", "cite"),
            ".widget": ("Widget",),
        },
    )

__all__ = [
    "ActionContext",
    "Actions",
    "Explain",
    "PageActionContext",
    "ProductionServer",
    "Widget",
    "ask",
    "cite",
    "new_text",
]
