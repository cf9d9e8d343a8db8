"""Tools that the browser answers, in a turn of its own: at once, after a reload, or never."""

from typing import Any

import pytest
from agents import Agent, FunctionToolResult, ToolsToFinalOutputResult
from agents.testing import ScriptedModel, assistant_message, function_call

from app.agent import assistant
from app.core.agent.run import Context
from app.desk import conversation, tools

from ..chat import Json, Person, text_of, thread_id_of
from ..fixtures import RunningServer
from .desk import CALL, calling, done, offered, outputs, press, script

PAGE = {"url": "/orders/1001"}


def asked(server: RunningServer, person: Person) -> tuple[str, list[Json], ScriptedModel]:
    """The thread, its events and the model, of a turn that asks the browser."""
    model = calling(server, "current_page", "You look at order 1001.")
    events = person.say("Which page is open?")
    return thread_id_of(events), events, model


def answer(person: Person, thread_id: str) -> list[Json]:
    return person.stream("threads.add_client_tool_output", thread_id=thread_id, result=PAGE)


def test_the_turn_ends_with_the_call_and_goes_on_with_the_browsers_answer(
    server: RunningServer, person: Person
) -> None:
    thread_id, events, model = asked(server, person)
    [call] = done(events, "client_tool_call")
    assert (call["name"], call["arguments"], call["status"]) == ("current_page", {}, "pending")
    assert [event["item"] for event in events if "item" in event][-1] == call
    assert len(model.calls) == 1

    assert text_of(answer(person, thread_id)) == "You look at order 1001."
    assert "/orders/1001" in outputs(model)[0]
    assert len(outputs(model)) == 1


def test_a_browser_that_was_reloaded_finds_the_call_and_answers(
    server: RunningServer, person: Person
) -> None:
    thread_id, _, model = asked(server, person)
    again = person.ask("threads.get_by_id", thread_id=thread_id)["items"]["data"]
    assert (again[-1]["type"], again[-1]["status"]) == ("client_tool_call", "pending")

    assert text_of(answer(person, thread_id)) == "You look at order 1001."
    assert "/orders/1001" in outputs(model)[0]


def test_a_browser_that_never_answers_does_not_stop_the_conversation(
    server: RunningServer, person: Person
) -> None:
    thread_id, _, model = asked(server, person)
    assert text_of(person.say("Never mind", thread_id)) == "You look at order 1001."
    given: Any = model.calls[-1].input
    assert not [item for item in given if "call_id" in item]

    late = person.post("threads.add_client_tool_output", thread_id=thread_id, result=PAGE)
    assert (late.status_code, late.json()["error"]["code"]) == (400, "invalid_request")
    assert text_of(person.say("Go on", thread_id)) == "Anything else?"


def test_a_call_beside_one_that_waits_for_the_person_does_not_block_the_thread(
    server: RunningServer, person: Person
) -> None:
    calls = [
        function_call("current_page", {}, call_id="page"),
        function_call("cancel_order", {"order": 1001}, call_id=CALL),
    ]
    script(server, calls, [assistant_message("Done.")])
    events = person.say("Cancel what I see")
    thread_id, [card] = thread_id_of(events), done(events, "widget")
    assert done(events, "client_tool_call") == []
    after = press(person, thread_id, card, offered(card, "approval.answer", approve=True))
    assert text_of(after) == "Done."


def test_a_client_effect_reaches_the_browser_and_is_no_item(
    server: RunningServer, person: Person
) -> None:
    calling(server, "point_at_order", order=1001)
    events = person.say("Where on the page is it?")
    [effect] = [event for event in events if event["type"] == "client_effect"]
    assert (effect["name"], effect["data"]) == ("point_at_order", {"order": 1001})
    assert "client_effect" not in str(person.items(thread_id_of(events)))


def test_a_click_and_a_question_do_not_keep_the_browsers_answer_out(
    server: RunningServer, person: Person
) -> None:
    calls = [
        function_call("list_orders", {}, call_id="list"),
        function_call("ask_which_order", {}, call_id="ask"),
        function_call("current_page", {}, call_id="page"),
    ]
    model = script(server, calls, [assistant_message("You look at order 1001.")])
    events = person.say("What do I look at?")
    thread_id, [shown] = thread_id_of(events), done(events, "widget")
    assert [e["item"]["type"] for e in events if "item" in e][-1] == "client_tool_call"
    press(person, thread_id, shown, offered(shown, "order.open", order=1002))
    assert text_of(answer(person, thread_id)) == "You look at order 1001."
    assert "/orders/1001" in outputs(model)[-1]
    again = person.post("threads.add_client_tool_output", thread_id=thread_id, result=PAGE)
    assert again.status_code == 400


@pytest.mark.parametrize("tool", ["current_page", "ask_which_order"])
def test_who_took_over_waits_for_an_answer_too(
    server: RunningServer, person: Person, monkeypatch: pytest.MonkeyPatch, tool: str
) -> None:
    clerk = Agent[Context](name="Clerk", tools=[tools.current_page, conversation.ask_which_order])
    monkeypatch.setattr("app.server.Server.handoffs", (clerk,))
    over = function_call("transfer_to_clerk", {}, call_id="over")
    said = [assistant_message("I did not wait.")]
    model = script(server, [over], [function_call(tool, {}, call_id=CALL)], said)
    assert text_of(person.say("Look")) == ""
    assert len(model.calls) == 2


def test_what_was_quoted_is_told_with_the_browsers_answer_too(
    server: RunningServer, person: Person
) -> None:
    model = calling(server, "current_page")
    thread_id = thread_id_of(person.say("What does it mean?", quoted_text="within 30 days"))
    answer(person, thread_id)
    assert "within 30 days" in str(model.calls[-1].input)


def decide(_: Any, results: list[FunctionToolResult]) -> ToolsToFinalOutputResult:
    ends = [result.output for result in results if result.tool.name == "track_parcel"]
    return ToolsToFinalOutputResult(bool(ends), ends and ends[0])


async def decide_later(ctx: Any, results: list[FunctionToolResult]) -> ToolsToFinalOutputResult:
    return decide(ctx, results)


@pytest.mark.parametrize(
    "behavior", [{"stop_at_tool_names": ["track_parcel"]}, decide, decide_later]
)
def test_an_agents_own_end_counts_beside_the_browsers(
    server: RunningServer, person: Person, monkeypatch: pytest.MonkeyPatch, behavior: Any
) -> None:
    own = assistant.clone(tool_use_behavior=behavior)
    monkeypatch.setattr("app.server.assistant", own)
    page = function_call("current_page", {}, call_id="page")
    parcel = function_call("track_parcel", {"order": 1002}, call_id="parcel")
    for call in (page, parcel):
        model = script(server, [call], [assistant_message("More.")])
        assert text_of(person.say("Look")) == ""
        assert len(model.calls) == 1
    assert text_of(person.say("And so?")) == "More."
