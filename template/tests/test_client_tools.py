"""Tools that the browser answers, in a turn of its own: at once, after a reload, or never.

The template's file: improvements arrive through `copier update`.
"""

from typing import Any

from agents.testing import ScriptedModel, assistant_message, function_call

from .chat import Json, Person, text_of, thread_id_of
from .conftest import RunningServer
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
