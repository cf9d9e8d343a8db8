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
from .context import RequestContext
from .errors import ApiError
from .run import AgentServer
from .store.base import new_id

INPUTS = {"Input", "Textarea", "Select", "DatePicker", "Checkbox", "RadioGroup", "Text"}
STALE = "This button does not work any more. Please reload the conversation."

P = TypeVar("P", bound=BaseModel)
H = TypeVar("H", bound=Callable[..., Any])


@dataclass(frozen=True)
class Acting:
    """Somebody pressed a button of `item`, a widget of their own thread, as the store has it."""

    server: AgentServer
    thread: ck.ThreadMetadata
    item: ck.WidgetItem
    context: RequestContext

    def replaced(self, widget: WidgetRoot) -> ck.ThreadItemReplacedEvent:
        """The event that puts another widget into the place of this one, for good."""
        return ck.ThreadItemReplacedEvent(item=self.item.model_copy(update={"widget": widget}))

    def shown(self, widget: WidgetRoot) -> ck.ThreadItemDoneEvent:
        """The event that shows another widget below."""
        return ck.ThreadItemDoneEvent(item=ck.WidgetItem(widget=widget, **self._new()))

    def told(self, text: str) -> ck.ThreadItemDoneEvent:
        """The event by which the model knows in later turns what was done; nobody sees it."""
        return ck.ThreadItemDoneEvent(item=ck.HiddenContextItem(content=text, **self._new()))

    def _new(self) -> dict[str, Any]:
        now = datetime.now()
        return {"id": new_id("message"), "thread_id": self.thread.id, "created_at": now}


Streamed = Callable[[Acting, P], AsyncIterator[ck.ThreadStreamEvent]]
Synced = Callable[[Acting, P], Awaitable[WidgetRoot]]


class Actions:
    """Handlers by the types of actions, each with the model of its payload."""

    def __init__(self, *others: "Actions") -> None:
        self.streamed: dict[str, tuple[type[BaseModel], Streamed[Any]]] = {}
        self.synced: dict[str, tuple[type[BaseModel], Synced[Any]]] = {}
        for other in others:
            self.streamed |= other.streamed
            self.synced |= other.synced

    def on(self, kind: str, payload: type[P]) -> Callable[[Streamed[P]], Streamed[P]]:
        """Register an async generator: what it yields is streamed and stored."""

        def register(handler: Streamed[P]) -> Streamed[P]:
            self.streamed[kind] = payload, handler
            return handler

        return register

    def on_sync(self, kind: str, payload: type[P]) -> Callable[[Synced[P]], Synced[P]]:
        """Register a function whose widget takes the place of the one that was pressed.

        The button's action has `"streaming": false`.
        """

        def register(handler: Synced[P]) -> Synced[P]:
            self.synced[kind] = payload, handler
            return handler

        return register


class ActionServer(AgentServer):
    """Acts only on what a widget of the thread offers, as the store has it now."""

    actions = Actions()
    built_in = Actions()

    async def action(
        self,
        thread: ck.ThreadMetadata,
        action: Action[str, Any],
        sender: ck.WidgetItem | None,
        context: RequestContext,
    ) -> Events:
        item, payload, handler = accept(
            self.built_in.streamed | self.actions.streamed, action, sender
        )
        async for event in handler(Acting(self, thread, item, context), payload):
            yield event

    async def sync_action(
        self,
        thread: ck.ThreadMetadata,
        action: Action[str, Any],
        sender: ck.WidgetItem | None,
        context: RequestContext,
    ) -> ck.SyncCustomActionResponse:
        try:
            item, payload, handler = accept(self.actions.synced, action, sender)
            widget = await handler(Acting(self, thread, item, context), payload)
        except CustomStreamError as refused:
            raise ApiError(400, "action_refused", refused.message) from None
        item = item.model_copy(update={"widget": widget})
        await self.store.save_item(thread.id, item, context=context)  # the SDK does not
        return ck.SyncCustomActionResponse(updated_item=item)


def accept(
    handlers: dict[str, tuple[type[BaseModel], H]],
    action: Action[str, Any],
    sender: ck.WidgetItem | None,
) -> tuple[ck.WidgetItem, BaseModel, H]:
    """The widget, the payload and the handler. Raises CustomStreamError for what nobody offers."""
    if sender is None or action.type not in handlers or not offers(sender.widget, action):
        raise CustomStreamError(STALE, allow_retry=False)
    model, handler = handlers[action.type]
    try:
        return sender, model.model_validate(action.payload or {}), handler
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        text = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise CustomStreamError(f"Please check what you entered: {text}.") from None


def offers(widget: WidgetRoot, action: Action[str, Any]) -> bool:
    """Whether the widget has this action: its payload, to which a form's own fields may be added.

    So an action that somebody makes up, or whose widget was replaced meanwhile, is never run.
    """
    parts, given = [*_parts(widget.model_dump())], action.payload or {}
    fields = {
        str((part.get("editable") or part)["name"]).partition(".")[0]
        for part in parts
        if part.get("type") in INPUTS and (part.get("editable") or part).get("name")
    }
    for part in parts:
        if part.get("type") == action.type and part.get("handler", "server") == "server":
            fixed = part.get("payload") or {}
            own = {name: value for name, value in given.items() if name not in fields - {*fixed}}
            if own == fixed:
                return True
    return False


def _parts(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in a widget, itself included."""
    if isinstance(value, dict):
        yield value
    for part in value.values() if isinstance(value, dict) else value:
        if isinstance(part, dict | list):
            yield from _parts(part)
