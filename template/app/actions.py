"""What the buttons and forms of widgets do: a registry from an action's type to its handler.

The template's file: improvements arrive through `copier update`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from chatkit import types as ck
from chatkit.actions import Action
from chatkit.errors import CustomStreamError
from chatkit.widgets import WidgetRoot
from pydantic import BaseModel, ValidationError

from .base import Events
from .checks import invalid
from .context import RequestContext
from .errors import ApiError
from .run import AgentServer
from .store.base import new_id

STALE = "This button does not work any more. Please reload the conversation."


@dataclass(frozen=True)
class Acting:
    """Somebody pressed a button of `item`, a widget of their own thread, as the store has it."""

    server: AgentServer
    thread: ck.ThreadMetadata
    item: ck.WidgetItem
    context: RequestContext

    def replaced(self, widget: WidgetRoot) -> ck.ThreadItemReplacedEvent:
        """Puts another widget into the place of this one, for good."""
        return ck.ThreadItemReplacedEvent(item=self.item.model_copy(update={"widget": widget}))

    def shown(self, widget: WidgetRoot) -> ck.ThreadItemDoneEvent:
        """Shows another widget below."""
        return ck.ThreadItemDoneEvent(item=ck.WidgetItem(widget=widget, **self._new()))

    def told(self, text: str) -> ck.ThreadItemDoneEvent:
        """Tells the model, in later turns, what was done; nobody sees it."""
        return ck.ThreadItemDoneEvent(item=ck.HiddenContextItem(content=text, **self._new()))

    def _new(self) -> dict[str, Any]:
        now = datetime.now()
        return {"id": new_id("message"), "thread_id": self.thread.id, "created_at": now}


Pressed = Action[str, Any]
Sender = ck.WidgetItem | None
P = TypeVar("P", bound=BaseModel)
# Gives the widget that takes the place of the one that was pressed, or yields events.
Handler = Callable[[Acting, P], Awaitable[WidgetRoot] | AsyncIterator[ck.ThreadStreamEvent]]
H = TypeVar("H", bound=Callable[..., Any])


class Actions(dict[str, tuple[type[BaseModel], Handler[Any]]]):
    """Handlers by the types of actions, each with the model of its payload."""

    def on(self, kind: str, payload: type[BaseModel]) -> Callable[[H], H]:
        """Register a handler. One that yields events is for buttons that stream, as most do.

        A button that does not is pressed beside others, and beside a running turn: let its payload
        say what is to be, as in `"watched": true`, and not what to turn round.
        """

        def register(handler: H) -> H:
            self[kind] = payload, handler
            return handler

        return register


class ActionServer(AgentServer):
    """Acts only on what a widget of the thread offers, as the store has it now."""

    actions = Actions()
    built_in = Actions()

    async def action(
        self, thread: ck.ThreadMetadata, action: Pressed, sender: Sender, context: RequestContext
    ) -> Events:
        acting, result = self._begun(thread, action, sender, context)
        if isinstance(result, AsyncIterator):
            async for event in result:
                yield event
        else:
            yield acting.replaced(await result)

    async def sync_action(
        self, thread: ck.ThreadMetadata, action: Pressed, sender: Sender, context: RequestContext
    ) -> ck.SyncCustomActionResponse:
        try:
            acting, result = self._begun(thread, action, sender, context)
            if isinstance(result, AsyncIterator):
                raise CustomStreamError(STALE)
            item = acting.replaced(await result).item
        except CustomStreamError as refused:
            raise ApiError(400, "action_refused", refused.message) from None
        await self.store.load_item(thread.id, item.id, context)  # it may be deleted meanwhile
        await self.store.save_item(thread.id, item, context=context)  # the SDK does not
        return ck.SyncCustomActionResponse(updated_item=item)

    def _begun(
        self, thread: ck.ThreadMetadata, action: Pressed, sender: Sender, context: RequestContext
    ) -> tuple[Acting, Any]:
        """What the action's handler gives. Raises CustomStreamError for what nobody offers."""
        known = (self.built_in | self.actions).get(action.type)
        if known is None or sender is None or not offers(sender.widget, action):
            raise CustomStreamError(STALE)
        model, handler = known
        acting = Acting(self, thread, sender, context)
        try:
            return acting, handler(acting, model.model_validate(action.payload or {}))
        except ValidationError as error:
            raise CustomStreamError(f"Please check your entries: {invalid(error)}.") from None


def offers(widget: WidgetRoot, action: Pressed) -> bool:
    """Whether the widget has this action: its payload, to which a form's own fields may be added.

    So an action that somebody makes up, or whose widget was replaced meanwhile, is never run.
    """
    parts, given = [*_parts(widget.model_dump())], action.payload or {}
    names = {part["name"] for _, part in parts if "name" in part and part.get("type") != "Icon"}
    fields = {str(name).partition(".")[0] for name in names}
    return isinstance(given, dict) and any(
        fixed.items() <= given.items() and {*given} - {*fixed} <= fields
        for slot, part in parts
        if slot.lower().endswith("action") and part.get("type") == action.type
        if part.get("handler", "server") == "server"
        for fixed in [part.get("payload") or {}]
    )


def _parts(value: Any, slot: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of a widget with the name under which it stands; what is data has none."""
    if isinstance(value, list):
        for part in value:
            yield from _parts(part)
    elif isinstance(value, dict):
        yield slot, value
        for name, part in value.items():
            if name not in ("payload", "data"):
                yield from _parts(part, name)
