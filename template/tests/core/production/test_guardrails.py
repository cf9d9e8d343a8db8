"""Guardrails: what was produced is taken back, from the screen and from the thread."""

import asyncio
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from agents import GuardrailFunctionOutput, InputGuardrail, input_guardrail
from agents.testing import ModelStep, assistant_message, function_call
from chatkit import types as ck

from app.core.agent.run import OFFLINE_NOTICE
from app.core.production.screening import STOPPED
from app.desk.guardrails import NO_CARDS, NO_PROMISES, no_cards

from ..agent.test_agent import texts
from ..agent.test_text_coalescing import Speaker
from ..chat import Json, Person, text_of, thread_id_of, user_input
from ..fixtures import RunningServer
from .desk import done, offered, press, script


@input_guardrail
async def slow(*_: Any) -> GuardrailFunctionOutput:
    """Takes a while, and so trips in mid-message, or after a tool."""
    await asyncio.sleep(0.3)
    return GuardrailFunctionOutput(None, tripwire_triggered=True)


def on_screen(events: list[Json]) -> dict[str, Json]:
    """The items that a browser shows after these events, without a reload."""
    shown: dict[str, Json] = {}
    for event in events:
        if event["type"] in ("thread.item.added", "thread.item.done", "thread.item.replaced"):
            shown[event["item"]["id"]] = event["item"]
        elif event["type"] == "thread.item.removed":
            del shown[event["item_id"]]
    return shown


def notices(events: list[Json]) -> list[str]:
    told = [event["message"] for event in events if event["type"] == "notice"]
    return [text for text in told if text != OFFLINE_NOTICE]


def test_a_message_that_must_not_be_read_is_not_answered(
    server: RunningServer, person: Person, errors: Callable[[], list[str]]
) -> None:
    model = script(server, [assistant_message("Hello.")])
    events = person.say("My card is 4111 1111 1111 1111")
    thread_id = thread_id_of(events)

    assert notices(events) == [NO_CARDS]
    assert [item["type"] for item in on_screen(events).values()] == ["user_message"]
    assert [item["type"] for item in person.items(thread_id)] == ["user_message"]
    assert "error" not in [event["type"] for event in events]
    assert text_of(person.say("Please answer the above", thread_id)) == "Hello."
    assert texts(model.calls[-1]) == ["Please answer the above"]  # it is not read later either
    assert errors() == []


def test_what_was_stopped_is_left_out_of_a_long_conversation_alone(
    server: RunningServer, person: Person
) -> None:
    call = function_call("show_order", {"order": 1001}, call_id="1")
    steps = [[call], [assistant_message("Here.")], *[[assistant_message("Yes.")]] * 4]
    model = script(server, *steps)
    thread_id = thread_id_of(person.say("Show it"))
    for text in ("4111 1111 1111 1111", "Is it blue?", "4222 2222 2222 2222", "Is it big?"):
        person.say(text, thread_id)
    told = str(model.calls[-1].input)
    assert [text in told for text in ("Show it", "Here.", "blue", "big")] == [True] * 4
    assert "function_call_output" in told
    assert "4111" not in told
    assert "4222" not in told


def test_a_stopped_message_can_be_tried_again(
    server: RunningServer, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = script(server, [assistant_message("I see.")])
    thread_id = thread_id_of(person.say("4111 1111 1111 1111"))
    [message] = person.items(thread_id)
    monkeypatch.setattr(server.app.state.server, "input_guardrails", ())
    again = person.stream("threads.retry_after_item", thread_id=thread_id, item_id=message["id"])
    assert text_of(again) == "I see."
    assert texts(model.calls[-1]) == ["4111 1111 1111 1111"]


@pytest.mark.parametrize("beside", ["a quote", "a tag", "in the quote"])
def test_a_message_is_read_whole(server: RunningServer, person: Person, beside: str) -> None:
    """The model is given quotes, and what tags stand for, after the person's words."""
    script(server, [assistant_message("Thanks for the number.")])
    number: Json = {"type": "input_text", "text": "My card is 4111 1111 1111 1111 "}
    tag = {"type": "input_tag", "id": "1002", "text": "1002", "group": "order", "data": {}}
    given = user_input("Is it so?") | {"quoted_text": "Mine is 4111 1111 1111 1111"}
    if beside == "a quote":
        given = user_input() | {"content": [number], "quoted_text": "Tell me more."}
    if beside == "a tag":
        given = user_input() | {"content": [number, tag]}
    assert notices(person.stream("threads.create", input=given)) == [NO_CARDS]


def test_what_others_left_in_the_thread_stops_no_message(
    server: RunningServer, person: Person
) -> None:
    """A number in what a form, a widget or a tool has left is not the person's message."""
    script(server, [assistant_message("Hello.")], [assistant_message("You are welcome.")])
    thread_id = thread_id_of(person.say("Hello"))
    place: Any = {"thread_id": thread_id, "created_at": datetime.now()}
    told = ck.HiddenContextItem(id="hidden", content="Parcel 4111 1111 1111 1111", **place)
    server.run(server.store.add_thread_item(thread_id, told, server.context_of(person)))
    assert text_of(person.say("Thank you", thread_id)) == "You are welcome."


def test_a_question_that_was_asked_meanwhile_is_taken_back(
    server: RunningServer,
    person: Person,
    monkeypatch: pytest.MonkeyPatch,
    errors: Callable[[], list[str]],
) -> None:
    call = function_call("ask_which_order", {}, call_id="1")
    script(server, [assistant_message("I ask."), call])
    monkeypatch.setattr(server.app.state.server, "input_guardrails", [slow])
    events = person.say("Hello")
    assert notices(events) == [STOPPED]
    assert "error" not in [event["type"] for event in events]
    assert [item["type"] for item in on_screen(events).values()] == ["user_message"]
    assert [item["type"] for item in person.items(thread_id_of(events))] == ["user_message"]
    assert errors() == []


def test_an_answer_that_must_not_be_given_is_taken_back(
    server: RunningServer, person: Person
) -> None:
    call = function_call("show_order", {"order": 1001}, call_id="1")
    said = assistant_message("Here it is.", item_id="__fake_id__")
    promise = assistant_message("I promise it comes.", item_id="__fake_id__")
    script(server, [said, call], [promise])
    events = person.say("Where is it?")

    assert notices(events) == [NO_PROMISES]
    assert [item["type"] for item in on_screen(events).values()] == ["user_message"]
    assert "I promise" not in json.dumps(person.items(thread_id_of(events)))
    assert [item["type"] for item in person.items(thread_id_of(events))] == ["user_message"]


def test_half_a_message_leaves_the_screen_too(
    server: RunningServer, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.app.state.server, "input_guardrails", [slow])
    script(server, ModelStep.stream(Speaker("word " * 150, 0.01)))
    events = person.say("Hello")

    assert any("text_delta" in json.dumps(event) for event in events)
    assert notices(events) == [STOPPED]
    assert [item["type"] for item in on_screen(events).values()] == ["user_message"]
    assert [item["type"] for item in person.items(thread_id_of(events))] == ["user_message"]


def test_guardrails_hold_for_whom_a_turn_is_handed_to(
    server: RunningServer, person: Person
) -> None:
    script(
        server,
        [function_call("transfer_to_refunds", {}, call_id="1")],
        [assistant_message("I guarantee your money.")],
    )
    assert notices(person.say("My money!")) == [NO_PROMISES]


NUMBER = "4111 1111 1111 1111"


def answer(person: Person, thread_id: str, item_id: str, text: str) -> list[Json]:
    given = {"answers": {"order": {"values": [text]}}}
    about = {"thread_id": thread_id, "item_id": item_id}
    return person.stream("threads.add_structured_input", **about, input=given)


@pytest.mark.parametrize("is_parallel", [False, True], ids=["sequential", "parallel"])
@pytest.mark.parametrize("since", ["at once", "after a click", "after a message", "the first of 2"])
def test_an_answer_to_a_question_is_read_wherever_the_question_stands(
    server: RunningServer,
    person: Person,
    since: str,
    is_parallel: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And told to the model neither then nor later; what was said meanwhile is."""
    guardrail = InputGuardrail(no_cards.guardrail_function, run_in_parallel=is_parallel)
    monkeypatch.setattr(server.app.state.server, "input_guardrails", [guardrail])
    monkeypatch.setattr(server.app.state.server, "own_words", True)
    asking = [function_call("ask_which_order", {}, call_id="q")]
    if since == "after a click":
        asking.insert(0, function_call("list_orders", {}, call_id="l"))
    if since == "the first of 2":
        asking.append(function_call("ask_which_order", {}, call_id="r"))
    said = [[assistant_message(text)] for text in ("Yes.", "So.", "Well.")]
    model = script(server, asking, *said)
    events = person.say("It is broken")
    thread_id, question = thread_id_of(events), done(events, "structured_input")[0]
    if since == "after a click":
        [shown] = done(events, "widget")
        press(person, thread_id, shown, offered(shown, "order.open", order=1002))
    if since == "after a message":
        person.say("Wait a moment", thread_id)

    stopped = answer(person, thread_id, question["id"], NUMBER)
    assert [event["message"] for event in stopped if event["type"] == "notice"] == [NO_CARDS]
    assert text_of(stopped) == ""
    person.say("And now?", thread_id)
    told = str(model.calls[-1].input)
    assert NUMBER not in told
    assert "It is broken" in told
    assert ("Wait a moment" in told) == (since == "after a message")


def test_an_answer_to_a_question_that_may_be_read_is_answered(
    server: RunningServer, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old number of somebody's, which a tool told of, stops nothing."""
    monkeypatch.setattr(server.app.state.server, "own_words", True)
    model = script(
        server, [function_call("ask_which_order", {}, call_id="q")], [assistant_message("Fine.")]
    )
    events = person.say("It is broken")
    [question] = done(events, "structured_input")
    assert text_of(answer(person, thread_id_of(events), question["id"], "1001")) == "Fine."
    assert "1001" in texts(model.calls[-1])[-1]
