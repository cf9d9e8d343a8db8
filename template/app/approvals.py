"""Tools that act only after a person's yes: the question, and what goes on after the answer.

The template's file: improvements arrive through `copier update`.
"""

import json
from collections.abc import Sequence
from contextvars import ContextVar
from datetime import datetime
from typing import Any

from agents import Agent, RunContextWrapper, RunState
from agents.items import ToolApprovalItem
from agents.result import RunResultStreaming
from chatkit import types as ck
from chatkit.errors import CustomStreamError
from chatkit.store import NotFoundError
from pydantic import BaseModel

from .actions import STALE, Acting, Actions, ActionServer
from .base import Events
from .run import Context
from .store.base import new_id
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


# An answer on its way to the run that goes on with it, through the owner's `respond`.
_answered: ContextVar[tuple[dict[str, Any], bool] | None] = ContextVar("answered", default=None)

answers = Actions()


class ApprovalServer(ActionServer):
    """Keeps a run that waits for an answer in its thread, so that a restart does not lose it."""

    built_in = answers

    async def begin(self, agent: Agent[Context], about: Context) -> tuple[Agent[Context], Any]:
        if (answered := _answered.get()) is None:
            return await super().begin(agent, about)
        saved, approve = answered
        context = RunContextWrapper(about)
        try:
            state = await RunState.from_json(agent, saved, context_override=context)
        except Exception as error:
            raise OutdatedError from error
        for call in state.get_interruptions():
            if call.tool_name not in {
                tool.name for tool in await call.agent.get_all_tools(context)
            }:
                raise OutdatedError
            state.approve(call) if approve else state.reject(call)
        _answered.set(None)
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
async def answer(acting: Acting, given: Answer) -> Events:
    """Run on with the person's answer. What is kept goes first: an answer counts once."""
    store, thread, context = acting.server.store, acting.thread, acting.context
    try:
        kept = await store.load_item(thread.id, given.pending, context)
        await store.delete_thread_item(thread.id, kept.id, context)
    except NotFoundError:
        raise CustomStreamError(STALE) from None
    assert isinstance(kept, ck.HiddenContextItem)
    content: Any = kept.content
    said = "Approved." if given.approve else "Rejected."
    card = ApprovalCard(calls=content["calls"], pending=kept.id, answer=said)
    yield acting.replaced(card.build())
    _answered.set((content["state"], given.approve))
    failed: Exception | None = None
    try:
        async for event in acting.server.respond(thread, None, context):
            yield event
    except Exception as error:
        failed = error
    if _answered.get():  # nothing was run
        card.answer = "Too old." if isinstance(failed, OutdatedError) else ""
        if not card.answer:  # it can be answered again
            await store.add_thread_item(thread.id, kept, context)
        yield acting.replaced(card.build())
    if failed:
        raise failed


def _in_words(call: ToolApprovalItem) -> str:
    """The call as the person reads it: nothing of what the model asks for is left out."""
    try:
        given = json.loads(call.arguments or "{}")
    except ValueError:
        given = call.arguments
    if isinstance(given, dict):
        given = ", ".join(f"{name} {value}" for name, value in given.items())
    return f"{(call.tool_name or '').replace('_', ' ')}: {given}"
