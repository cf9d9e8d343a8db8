"""What the buttons and forms of widgets do: a registry from an action's type to its handler."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from inspect import signature
from typing import Any, TypeVar

from chatkit import actions as ck_actions
from chatkit import types as ck
from chatkit.errors import CustomStreamError
from chatkit.widgets import WidgetRoot
from pydantic import BaseModel, ValidationError

from ..agent.run import AgentServer
from ..chat_server import Events
from ..context import RequestContext
from ..errors import ApiError
from ..store.base import new_id
from .entries import components, wrong_entries
from .input_text import text_of_data

STALE = "This button does not work any more. Please reload the conversation."


@dataclass(frozen=True, kw_only=True)
class PageActionContext:
    """A person's page sent an action of its own, which belongs to no widget of the thread."""

    server: AgentServer
    thread: ck.ThreadMetadata
    context: RequestContext

    def add_widget(self, widget: WidgetRoot) -> ck.ThreadItemDoneEvent:
        """Shows another widget below."""
        return ck.ThreadItemDoneEvent(item=ck.WidgetItem(widget=widget, **self._new()))

    def add_hidden(self, text: str) -> ck.ThreadItemDoneEvent:
        """Tells the model, in later turns, what was done; nobody sees it."""
        return ck.ThreadItemDoneEvent(item=ck.HiddenContextItem(content=text, **self._new()))

    def _new(self) -> dict[str, Any]:
        now = datetime.now()
        return {"id": new_id("message"), "thread_id": self.thread.id, "created_at": now}


@dataclass(frozen=True, kw_only=True)
class ActionContext(PageActionContext):
    """Somebody pressed a button of `item`, a widget of their own thread, as the store has it."""

    item: ck.WidgetItem

    def replace_widget(self, widget: WidgetRoot) -> ck.ThreadItemReplacedEvent:
        """Puts another widget into the place of this one, for good."""
        return ck.ThreadItemReplacedEvent(item=self.item.model_copy(update={"widget": widget}))


Action = ck_actions.Action[str, Any]
Sender = ck.WidgetItem | None
P = TypeVar("P", bound=BaseModel)
# Gives the widget that takes the place of the one that was pressed, or yields events.
Handler = Callable[[ActionContext, P], Awaitable[WidgetRoot] | AsyncIterator[ck.ThreadStreamEvent]]
# Yields events, or gives a widget to show below, or nothing.
PageHandler = Callable[
    [PageActionContext, P], Awaitable[WidgetRoot | None] | AsyncIterator[ck.ThreadStreamEvent]
]
H = TypeVar("H", bound=Callable[..., Any])


class Actions(dict[str, tuple[type[BaseModel], Handler[Any]]]):
    """Handlers by the types of actions, each with the model of its payload."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.of_page: dict[str, tuple[type[BaseModel], PageHandler[Any]]] = {}

    def on(self, kind: str, payload: type[BaseModel]) -> Callable[[H], H]:
        """Register a handler. One that yields events is for buttons that stream, as most do.

        A button that does not is pressed beside others, and beside a running turn: let its payload
        say what is to be, as in `"watched": true`, and not what to turn round.
        """

        def register(handler: H) -> H:
            self[kind] = payload, handler
            return handler

        return register

    def from_page(self, kind: str, payload: type[BaseModel] | None = None) -> Callable[[H], H]:
        """Register a handler for `chatkit.sendCustomAction({type, payload})`, which a page calls.

        Any person can send any payload of this type: no widget limits it. Without `payload`, the
        model is the annotation of the handler's second parameter.
        """

        def register(handler: H) -> H:
            self.of_page[kind] = payload or payload_of(handler), handler
            return handler

        return register


class ActionServer(AgentServer):
    """Acts on what a stored widget of the thread offers, and what `from_page` lets pages send."""

    actions = Actions()
    built_in = Actions()

    async def screen(self, text: str, thread: ck.ThreadMetadata, context: RequestContext) -> None:
        """Read what a person has written into an action. Raises CustomStreamError."""

    async def action(
        self, thread: ck.ThreadMetadata, action: Action, sender: Sender, context: RequestContext
    ) -> Events:
        acting, result = await self._begun(thread, action, sender, context)
        if isinstance(result, AsyncIterator):
            async for event in result:
                yield event
        elif widget := await result:
            yield (
                acting.replace_widget(widget)
                if isinstance(acting, ActionContext)
                else acting.add_widget(widget)
            )

    async def sync_action(
        self, thread: ck.ThreadMetadata, action: Action, sender: Sender, context: RequestContext
    ) -> ck.SyncCustomActionResponse:
        try:
            acting, result = await self._begun(thread, action, sender, context)
            if isinstance(result, AsyncIterator):
                raise CustomStreamError(STALE)
            if (widget := await result) is None:
                return ck.SyncCustomActionResponse()
        except CustomStreamError as refused:
            raise ApiError(400, "action_refused", refused.message) from None
        if not isinstance(acting, ActionContext):
            added = acting.add_widget(widget).item
            await self.store.add_thread_item(thread.id, added, context=context)
            return ck.SyncCustomActionResponse(updated_item=added)
        item = acting.replace_widget(widget).item
        await self.store.load_item(thread.id, item.id, context)  # it may be deleted meanwhile
        await self.store.save_item(thread.id, item, context=context)  # the SDK does not
        return ck.SyncCustomActionResponse(updated_item=item)

    async def _begun(
        self, thread: ck.ThreadMetadata, action: Action, sender: Sender, context: RequestContext
    ) -> tuple[PageActionContext, Any]:
        """What the action's handler gives. Raises CustomStreamError for what nobody offers."""
        place: Any = {"server": self, "thread": thread, "context": context}
        if sender:
            known: Any = (self.built_in | self.actions).get(action.type)
            written = added(sender.widget, action)
            acting: PageActionContext = ActionContext(item=sender, **place)
        else:
            known = self.actions.of_page.get(action.type)
            written = action.payload or {}
            acting = PageActionContext(**place)
        if known is None or written is None:
            raise CustomStreamError(STALE)
        await self.screen(text_of_data(written), thread, context)
        model, handler = known
        try:
            return acting, handler(acting, model.model_validate(action.payload or {}))
        except ValidationError as error:
            told = wrong_entries(error, model, sender.widget if sender else None)
            raise CustomStreamError(told) from None


def payload_of(handler: Callable[..., Any]) -> type[BaseModel]:
    """The payload's model, as the handler's second parameter is annotated. Raises TypeError."""
    _, given, *_ = [*signature(handler, eval_str=True).parameters.values(), None, None]
    if given and isinstance(given.annotation, type) and issubclass(given.annotation, BaseModel):
        return given.annotation
    raise TypeError(f"{handler.__name__} does not say the model of its payload: annotate it.")


def added(widget: WidgetRoot, action: Action) -> dict[str, Any] | None:
    """What the person has added to an action of the widget, in a form's own fields.

    None where no component of the widget offers the action. So an action that somebody makes up, or
    whose widget was replaced meanwhile, is never run. A button with `handler: "client"` offers its
    action too: the page gets it, and may forward it.
    """
    parts, given = [*components(widget)], action.payload or {}
    names = {part["name"] for _, part in parts if "name" in part and part.get("type") != "Icon"}
    fields = {str(name).partition(".")[0] for name in names}
    offered = [
        part.get("payload") or {}
        for slot, part in parts
        if slot.lower().endswith("action") and part.get("type") == action.type
    ]
    fitting = [
        {name: given[name] for name in {*given} - {*fixed}}
        for fixed in offered
        if isinstance(given, dict) and fixed.items() <= given.items()
        if {*given} - {*fixed} <= fields
    ]
    return min(fitting, key=len, default=None)
