"""Tools that act only after a person's yes: the question, and what goes on after the answer."""

import json
from collections.abc import Sequence
from contextlib import suppress
from contextvars import ContextVar
from datetime import datetime
from typing import Any

from agents import Agent, HostedMCPTool, RunContextWrapper, RunState, Tool
from agents.items import ToolApprovalItem
from agents.result import RunResultStreaming
from chatkit import types as ck
from chatkit.errors import CustomStreamError
from chatkit.store import NotFoundError
from pydantic import BaseModel

from ..agent.contained_tools import contain
from ..agent.run import Context
from ..chat_server import Events
from ..store.base import new_id
from .actions import STALE, ActionContext, Actions, ActionServer
from .widget import Widget


class OutdatedError(CustomStreamError):
    """A run that was saved by another version, or whose tool is gone."""

    def __init__(self) -> None:
        super().__init__("This question is too old to be answered. Please ask again.")


class ApprovalCard(Widget, file="approval.widget"):
    calls: list[str]
    pending: str  # the id of the hidden item that keeps the run
    answer: str  # empty while it is asked


class Answer(BaseModel):
    pending: str
    approve: bool


# An answer on its way to the run that goes on with it, through the owner's `respond`: by which
# widget, the run that was kept, and whether it is a yes.
_answered: ContextVar[tuple[ActionContext, ck.HiddenContextItem, bool] | None] = ContextVar(
    "answered", default=None
)

answers = Actions()


class ApprovalServer(ActionServer):
    """Keeps a run that waits for an answer in its thread, so that a restart does not lose it."""

    built_in = answers

    async def begin(self, agent: Agent[Context], about: Context) -> tuple[Agent[Context], Any]:
        if (answered := _answered.get()) is None:
            return await super().begin(agent, about)
        acting, kept, approve = answered
        content: Any = kept.content
        context = RunContextWrapper(about)
        await agent.get_all_tools(context)  # an MCP server that is away makes no question old
        try:
            state = await RunState.from_json(
                agent, _plain(content["state"]), context_override=context
            )
        except Exception as error:
            raise OutdatedError from error
        for call in state.get_interruptions():
            tools = await call.agent.get_all_tools(context)
            contain(tools)
            if not any(_offers(tool, call) for tool in tools):
                raise OutdatedError
            state.approve(call) if approve else state.reject(call)
        # Now, and not before, as it may be refused or stopped on its way; and before anything is
        # run, as an answer counts once.
        _answered.set(None)
        await about.store.delete_thread_item(about.thread.id, kept.id, about.request_context)
        closed = _closed(acting, kept, "Approved." if approve else "Rejected.")
        await about.store.save_item(about.thread.id, closed.item, about.request_context)
        await about.stream(closed)
        return agent, state

    async def end(self, run: RunResultStreaming, about: Context) -> Sequence[ck.ThreadStreamEvent]:
        if not run.interruptions:
            return ()
        state = run.to_state().to_json(context_serializer=lambda _: {})
        calls = [_in_words(call) for call in run.interruptions]
        place: dict[str, Any] = {"thread_id": about.thread.id, "created_at": datetime.now()}
        content = {"type": "pending_run", "state": state, "calls": calls}
        kept = ck.HiddenContextItem(id=new_id("message"), content=content, **place)
        card = ApprovalCard(calls=calls, pending=kept.id, answer="").build()
        asked = ck.WidgetItem(id=new_id("message"), widget=card, **place)
        return ck.ThreadItemDoneEvent(item=kept), ck.ThreadItemDoneEvent(item=asked)


@answers.on("approval.answer", Answer)
async def answer(acting: ActionContext, given: Answer) -> Events:
    """Run on with the person's answer."""
    store, thread, context = acting.server.store, acting.thread, acting.context
    try:
        kept = await store.load_item(thread.id, given.pending, context)
    except NotFoundError:
        raise CustomStreamError(STALE) from None
    assert isinstance(kept, ck.HiddenContextItem)
    _answered.set((acting, kept, given.approve))
    try:
        async for event in acting.server.respond(thread, None, context):
            yield event
    except OutdatedError:
        await store.delete_thread_item(thread.id, kept.id, context)
        yield _closed(acting, kept, "Too old.")
        raise


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    """The saved run with the text of earlier answers as plain text, as it was before it was saved.

    RunState.to_json() makes parts of type output_text of it, without an id. Chat Completions models
    raise UserError for these, so that no run of a thread with an answer in it could go on.
    """
    given = state.get("original_input")
    for item in given if isinstance(given, list) else ():
        if item.get("role") == "assistant" and "id" not in item:
            parts = item["content"]
            if isinstance(parts, list) and all(part.get("type") == "output_text" for part in parts):
                item["content"] = "".join(part["text"] for part in parts)
                item.pop("status", None)
    return state


def _closed(
    acting: ActionContext, kept: ck.HiddenContextItem, said: str
) -> ck.ThreadItemReplacedEvent:
    """Puts a card that says this into the place of the one that asks."""
    content: Any = kept.content
    card = ApprovalCard(calls=content["calls"], pending=kept.id, answer=said)
    return acting.replace_widget(card.build())


def _offers(tool: Tool, call: ToolApprovalItem) -> bool:
    """Tell whether the agent still has the tool of the call.

    A hosted MCP tool has one name for all tools of its server, while the request for an approval
    has the name of the remote tool: compare the server's label instead.
    """
    raw = _raw(call)
    if raw.get("type") == "mcp_approval_request":
        label = raw.get("server_label")
        return isinstance(tool, HostedMCPTool) and tool.tool_config["server_label"] == label
    return tool.name == call.tool_name


def _raw(call: ToolApprovalItem) -> dict[str, Any]:
    """The call as its provider sent it: an object of a new run, a dictionary of a stored one."""
    raw = call.raw_item
    return raw.model_dump() if isinstance(raw, BaseModel) else dict(raw)


def _in_words(call: ToolApprovalItem) -> str:
    """The call as the person reads it: nothing of what the model asks for is left out."""
    raw = _raw(call)
    # A shell call has an `action`, a patch an `operation`, a custom tool an `input`.
    parts = (raw.get(name) for name in ("arguments", "input", "action", "operation"))
    given: Any = next((part for part in parts if part), {})
    with suppress(ValueError):
        given = json.loads(given) if isinstance(given, str) else given
    if isinstance(given, dict):
        given = ", ".join(f"{k} {v}" for k, v in given.items() if v is not None)
    name = (call.tool_name or "").replace("_", " ")
    return (
        f"{raw['server_label']}, {name}: {given}" if raw.get("server_label") else f"{name}: {given}"
    )
