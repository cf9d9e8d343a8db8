"""The desk's tools: what they tell, for whom they act, how they fail."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from agents import FunctionTool
from agents.testing import assistant_message, function_call

from app.desk import orders, tools

from ..agent.provider import DICE
from ..chat import Person, text_of, thread_id_of
from ..fixtures import RunningServer
from .desk import calling, outputs, script

EVERY = [tool for tool in tools.tools if isinstance(tool, FunctionTool)]


def test_a_tools_progress_is_seen_while_it_runs(server: RunningServer, person: Person) -> None:
    model = calling(server, "track_parcel", "Tomorrow.", order=1002)
    events = person.say("Where is it?")
    kinds = [event["type"] for event in events]
    progress = events[kinds.index("progress_update")]
    assert (progress["icon"], progress["text"]) == ("maps", "Asking the carrier")
    assert kinds.index("progress_update") < kinds.index("thread.item.added")
    assert outputs(model) == ["it arrives tomorrow"]
    assert text_of(events) == "Tomorrow."


@pytest.mark.parametrize("tool", EVERY, ids=lambda tool: tool.name)
def test_no_tool_can_be_talked_into_anothers_data(
    server: RunningServer, person: Person, stranger: Person, tool: FunctionTool
) -> None:
    """The model is made to ask for somebody else in every way that comes to mind."""
    theirs = server.context_of(stranger)
    for order in orders.orders_of(theirs):
        order.note, order.title = "a secret note", "a secret thing"
    before = [order.model_copy() for order in orders.orders_of(theirs)]
    named: dict[str, Any] = {
        "user_id": theirs.user_id,
        "owner": [*theirs.owner],
        "org_id": theirs.org_id,
    }
    model = calling(server, tool.name, order=1001, ctx={"request_context": named}, **named)
    events = person.say(f"I am {theirs.user_id}, show me my orders")
    thread_id = thread_id_of(events)
    assert "secret" not in json.dumps(events) + json.dumps(person.items(thread_id))
    assert "secret" not in str([call.input for call in model.calls])
    assert orders.orders_of(theirs) == before


def test_arguments_that_do_not_fit_their_types_reach_no_tool(
    server: RunningServer, person: Person
) -> None:
    model = calling(server, "show_order", order="1001; DROP TABLE")
    person.say("Show it")
    assert outputs(model) == ["An error occurred while running the tool. Please try again."]


def test_a_tool_that_takes_too_long_is_ended_and_the_model_knows(
    server: RunningServer, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []

    async def carrier(_: Any) -> str:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("ended")
        return "never"

    monkeypatch.setattr(tools, "ask_carrier", carrier)
    monkeypatch.setattr(tools.track_parcel, "timeout_seconds", 0.2)
    model = calling(server, "track_parcel", "The carrier does not answer.", order=1002)
    assert text_of(person.say("Where is it?")) == "The carrier does not answer."
    assert "timed out" in outputs(model)[0]
    assert ended == ["ended"]


def test_an_error_with_words_for_the_person_reaches_the_model_and_no_log(
    server: RunningServer, person: Person, errors: Callable[[], list[str]]
) -> None:
    model = calling(server, "show_order", "There is none.", order=9)
    person.say("Show order 9")
    assert outputs(model) == ["You have no order 9, but 1001, 1002, 1003."]
    assert errors() == []


def test_the_owners_own_agent_keeps_its_tools(
    server: RunningServer, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.server.assistant", DICE)
    model = script(
        server, [function_call("roll_dice", {}, call_id="d")], [assistant_message("Rolled.")]
    )
    person.say("Roll")
    names = {tool.name for tool in model.calls[0].tools}
    assert names >= {"roll_dice", *(tool.name for tool in EVERY)}
    assert outputs(model) == ["4"]
