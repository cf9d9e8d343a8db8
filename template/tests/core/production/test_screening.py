"""Screening: what a sequential guardrail stops is in no request to a provider, then or later.

The provider is a stand-in on a socket that keeps every request, also the titler's.
"""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from agents import GuardrailFunctionOutput, get_current_trace, input_guardrail

from app.core.errors import StoreUnavailable
from app.core.log_context import log_context
from app.core.production.screening import WITHHELD
from app.desk.cards import has_card_number
from app.desk.guardrails import NO_CARDS, no_cards
from app.desk.media import Records

from ..agent.provider import Asked, provider
from ..agent.test_model import NAME, credentials
from ..chat import Json, Person, events_of, request, text_of, thread_id_of, user_input
from ..fixtures import RunningServer, serve, wait_until
from .desk import done, hidden, items, offered, press

NUMBER = "4111 1111 1111 1111"


@pytest.fixture(scope="module")
def standin() -> Iterator[RunningServer]:
    running = RunningServer(provider())
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def server(standin: RunningServer) -> Iterator[RunningServer]:
    with serve(**credentials(standin.url), model=NAME, model_timeout=10) as running:
        running.app.state.server.attachment_store = Records()
        running.app.state.server.own_words = True
        yield running


@pytest.fixture
def log(standin: RunningServer) -> list[Asked]:
    found: list[Asked] = standin.app.state.log
    found.clear()
    return found


def told(log: list[Asked]) -> str:
    """All that the provider was sent."""
    return json.dumps([asked.body for asked in log])


def message(person: Person, thread_id: str, **more: Any) -> list[Json]:
    given = user_input("Is it so?") | more
    return person.stream("threads.add_user_message", thread_id=thread_id, input=given)


def tagged(person: Person, thread_id: str, **more: Any) -> list[Json]:
    tag = {"type": "input_tag", "id": "1", "text": "1", "group": "order", "data": {}} | more
    return message(person, thread_id, content=[tag])


def attached(person: Person, thread_id: str) -> list[Json]:
    about = {"name": f"{NUMBER}.pdf", "size": 1, "mime_type": "application/pdf"}
    file = person.ask("attachments.create", **about)
    return message(person, thread_id, attachments=[file["id"]])


def called(person: Person, thread_id: str, tool: str, kind: str, **arguments: Any) -> Json:
    """The item of a kind that a tool leaves in the thread."""
    events = person.say(f"call {tool} {json.dumps(arguments)}", thread_id)
    return done(events, kind)[0]


def form(person: Person, thread_id: str) -> list[Json]:
    shown = called(person, thread_id, "report_problem", "widget", order=1001)
    entries = {"kind": "other", "text": f"Mine is {NUMBER}"}
    return press(person, thread_id, shown, offered(shown, "problem.send"), entries)


def of_page(person: Person, thread_id: str) -> list[Json]:
    action = {"type": "note", "payload": {"text": f"Mine is {NUMBER}"}}
    return person.stream("threads.custom_action", thread_id=thread_id, action=action)


def client_tool(person: Person, thread_id: str) -> list[Json]:
    called(person, thread_id, "current_page", "client_tool_call")
    result = {"page": {"fields": [{"value": 4111111111111111}]}}
    return person.stream("threads.add_client_tool_output", thread_id=thread_id, result=result)


def answered(person: Person, thread_id: str, text: str = NUMBER) -> list[Json]:
    question = called(person, thread_id, "ask_which_order", "structured_input")
    given = {"answers": {"order": {"values": [text]}}}
    about = {"thread_id": thread_id, "item_id": question["id"]}
    return person.stream("threads.add_structured_input", **about, input=given)


def retried(person: Person, thread_id: str) -> list[Json]:
    person.say(f"Mine is {NUMBER}", thread_id)
    stopped = items(person, thread_id)[-1]["id"]
    return person.stream("threads.retry_after_item", thread_id=thread_id, item_id=stopped)


def while_asked(person: Person, thread_id: str) -> list[Json]:
    """A message while a tool waits for an approval, which is then given."""
    card = called(person, thread_id, "cancel_order", "widget", order=1001)
    events = person.say(f"Mine is {NUMBER}", thread_id)
    approved = press(person, thread_id, card, offered(card, "approval.answer", approve=True))
    assert "Order 1001 is cancelled" in text_of(approved)
    return events


Way = Callable[[Person, str], list[Json]]
WAYS: dict[str, Way] = {
    "a message": lambda person, thread_id: person.say(f"Mine is {NUMBER}", thread_id),
    "a quote": lambda person, thread_id: message(person, thread_id, quoted_text=NUMBER),
    "a tag": lambda person, thread_id: tagged(person, thread_id, text=NUMBER),
    "a tag's id": lambda person, thread_id: tagged(person, thread_id, id=NUMBER),
    "a tag's data": lambda person, thread_id: tagged(person, thread_id, data={"a": [NUMBER]}),
    "a file's name": attached,
    "a form": form,
    "an action of the page": of_page,
    "a client tool's output": client_tool,
    "an answer to a question": answered,
    "a retry": retried,
    "a message before an approval": while_asked,
}


@pytest.mark.parametrize("way", WAYS)
def test_what_a_guardrail_stops_is_in_no_request(
    server: RunningServer,
    person: Person,
    log: list[Asked],
    way: str,
    errors: Callable[[], list[str]],
) -> None:
    thread_id = person.new_thread("Hello")
    events = WAYS[way](person, thread_id)

    assert [event["message"] for event in events if event["type"] == "notice"] == [NO_CARDS]
    assert text_of(events) == ""
    assert text_of(person.say("And now?", thread_id)) != ""
    assert "And now?" in told(log)
    assert "4111" not in told(log)
    assert errors() == []


def test_a_first_message_that_is_stopped_asks_nobody_not_even_the_titler(
    server: RunningServer, person: Person, log: list[Asked]
) -> None:
    events = person.say(f"Mine is {NUMBER}")
    assert [event["message"] for event in events if event["type"] == "notice"] == [NO_CARDS]
    assert [item["type"] for item in items(person, thread_id_of(events))] == ["user_message"]
    wait_until(lambda: not server.app.state.turns)
    assert log == []


@pytest.mark.parametrize("kind", ["a form", "the page"])
def test_an_action_that_does_not_stream_is_read_too(
    server: RunningServer, person: Person, log: list[Asked], kind: str
) -> None:
    thread_id = person.new_thread()
    action: Json = {"type": "note", "payload": {"text": NUMBER}}
    about: Json = {"thread_id": thread_id}
    if kind == "a form":
        shown = called(person, thread_id, "report_problem", "widget", order=1001)
        action = {"type": "problem.send", "payload": {"order": 1001, "kind": "other"}}
        action["payload"]["text"] = NUMBER
        about["item_id"] = shown["id"]
    response = person.post("threads.sync_custom_action", action=action, **about)
    assert (response.status_code, response.json()["error"]["message"]) == (400, NO_CARDS)
    person.say("And now?", thread_id)
    assert "4111" not in told(log)


def test_a_question_whose_answer_was_stopped_can_be_answered_again(
    server: RunningServer, person: Person, log: list[Asked]
) -> None:
    thread_id = person.new_thread()
    events = answered(person, thread_id)
    [question] = done(events, "structured_input")
    assert question["status"] == "pending"
    assert items(person, thread_id)[-1] == question
    given = {"answers": {"order": {"values": ["The lamp"]}}}
    about = {"thread_id": thread_id, "item_id": question["id"]}
    assert text_of(person.stream("threads.add_structured_input", **about, input=given))
    assert "The lamp" in told(log)


def test_a_client_tools_output_that_is_stopped_leaves_no_open_call(
    server: RunningServer, person: Person, log: list[Asked]
) -> None:
    thread_id = person.new_thread()
    client_tool(person, thread_id)
    assert items(person, thread_id)[-1]["status"] == "completed"
    person.say("And now?", thread_id)
    assert WITHHELD in told(log)


def test_a_stopped_message_passes_when_it_is_retried_without_the_guardrail(
    server: RunningServer, person: Person, log: list[Asked], monkeypatch: pytest.MonkeyPatch
) -> None:
    @input_guardrail(run_in_parallel=False)
    def nothing(*_: Any) -> GuardrailFunctionOutput:
        return GuardrailFunctionOutput(None, tripwire_triggered=False)

    thread_id = person.new_thread()
    person.say(f"Mine is {NUMBER}", thread_id)
    monkeypatch.setattr(server.app.state.server, "input_guardrails", [nothing])
    stopped = items(person, thread_id)[-1]["id"]
    again = person.stream("threads.retry_after_item", thread_id=thread_id, item_id=stopped)
    assert NUMBER in text_of(again)
    person.say("And now?", thread_id)
    assert NUMBER in json.dumps(log[-1].messages)
    assert [item for item in hidden(server, person, thread_id) if "stopped" in str(item)] == []


@pytest.mark.parametrize("beyond", [0, 1], ids=["the message", "its mark"])
def test_a_page_of_the_history_that_begins_with_a_stopped_message_leaves_it_out(
    server: RunningServer,
    person: Person,
    log: list[Asked],
    monkeypatch: pytest.MonkeyPatch,
    beyond: int,
) -> None:
    thread_id = person.new_thread()
    person.say(f"Mine is {NUMBER}", thread_id)
    for since in (1, 3, 5):  # items after what was stopped, as the next answer loads them
        monkeypatch.setattr(server.app.state.server.settings, "history_items", since + 1 + beyond)
        person.say("And now?", thread_id)
    assert "4111" not in told(log)


def test_a_store_that_fails_after_a_stopped_message_lets_nothing_through(
    server: RunningServer, person: Person, log: list[Asked]
) -> None:
    thread_id, add, stored = person.new_thread(), server.store.add_thread_item, list[str]()

    async def failing(thread_id: str, item: Any, context: Any) -> None:
        if "user_message" in stored:
            raise StoreUnavailable
        await add(thread_id, item, context)
        stored.append(item.type)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server.store, "add_thread_item", failing)
        assert person.say(f"Mine is {NUMBER}", thread_id)[-1]["type"] == "error"
    assert text_of(person.say("And now?", thread_id)) != ""
    assert "4111" not in told(log)


class Slow:
    """A guardrail that is still reading when the person presses Stop."""

    def __init__(self) -> None:
        self.begun, self.may_end = threading.Event(), threading.Event()

    async def __call__(self, *given: Any) -> GuardrailFunctionOutput:
        self.begun.set()
        await asyncio.to_thread(self.may_end.wait, 10)
        found: GuardrailFunctionOutput = await no_cards.guardrail_function(*given)  # type: ignore[misc]
        return found


@pytest.mark.parametrize("kind", ["a first message", "a retry"])
def test_a_stop_while_a_guardrail_reads_lets_nothing_through(
    server: RunningServer,
    person: Person,
    log: list[Asked],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    body = request("threads.create", input=user_input(f"Mine is {NUMBER}"))
    if kind == "a retry":
        thread_id = thread_id_of(person.say(f"Mine is {NUMBER}"))
        about = {"thread_id": thread_id, "item_id": items(person, thread_id)[0]["id"]}
        body = request("threads.retry_after_item", **about)
    slow = Slow()
    guardrail = input_guardrail(name="slow", run_in_parallel=False)(slow)
    with monkeypatch.context() as patch:
        patch.setattr(server.app.state.server, "input_guardrails", [guardrail])
        with person.http.stream("POST", "/chatkit", json=body) as response:
            events = events_of(response)  # kept: the response closes with it
            first = next(events)
            thread_id = first.get("thread", {}).get("id") or about["thread_id"]
            assert slow.begun.wait(10)
        slow.may_end.set()
        wait_until(lambda: not server.app.state.turns)
    assert text_of(person.say("And now?", thread_id)) != ""
    assert "4111" not in told(log)


def test_a_guardrail_that_fails_lets_nothing_through(
    server: RunningServer, person: Person, log: list[Asked], monkeypatch: pytest.MonkeyPatch
) -> None:
    @input_guardrail(run_in_parallel=False)
    def broken(*_: Any) -> GuardrailFunctionOutput:
        raise RuntimeError(NUMBER)

    thread_id = person.new_thread()
    log.clear()
    with monkeypatch.context() as patch:
        patch.setattr(server.app.state.server, "input_guardrails", [broken])
        last = person.say("The lamp", thread_id)[-1]
    assert (last["type"], last["allow_retry"]) == ("error", True)
    assert NUMBER not in last["message"]
    person.say("And now?", thread_id)
    assert "The lamp" not in told(log)


def test_a_guardrail_that_takes_too_long_lets_nothing_through(
    server: RunningServer, person: Person, log: list[Asked], monkeypatch: pytest.MonkeyPatch
) -> None:
    @input_guardrail(run_in_parallel=False)
    async def endless(*_: Any) -> GuardrailFunctionOutput:
        await asyncio.Event().wait()
        raise AssertionError

    thread_id = person.new_thread()
    log.clear()
    with monkeypatch.context() as patch:
        patch.setattr(server.app.state.server, "input_guardrails", [endless])
        patch.setattr(server.app.state.server.settings, "model_timeout", 0.05)
        last = person.say("The lamp", thread_id)[-1]
    assert "took too long" in last["message"]
    person.say("And now?", thread_id)
    assert "The lamp" not in told(log)


def test_what_a_guardrails_own_agent_reads_is_not_traced(
    server: RunningServer, person: Person, log: list[Asked], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    @input_guardrail(run_in_parallel=False)
    def looking(*_: Any) -> GuardrailFunctionOutput:
        seen.append(get_current_trace())
        return GuardrailFunctionOutput(None, tripwire_triggered=False)

    monkeypatch.setattr(server.app.state.server, "input_guardrails", [looking])
    person.say("Hello")
    assert [one.export() for one in seen] == [None]


def test_the_log_names_the_guardrail_and_nothing_of_the_text(
    server: RunningServer, person: Person
) -> None:
    seen: list[dict[str, Any]] = []

    @input_guardrail(run_in_parallel=False)
    def looking(*_: Any) -> GuardrailFunctionOutput:
        seen.append(log_context())
        return GuardrailFunctionOutput("Secret", tripwire_triggered=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server.app.state.server, "input_guardrails", [looking])
        person.say("Hello")
    assert seen[0]["guardrail"] == "looking"
    assert "Secret" not in str(seen)


def test_a_button_without_an_entry_is_not_read(
    server: RunningServer, person: Person, log: list[Asked], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the widget itself says, nobody has written: an order's number may look like a card's."""
    seen: list[Any] = []

    @input_guardrail(run_in_parallel=False)
    def looking(context: Any, agent: Any, given: Any) -> GuardrailFunctionOutput:
        seen.append(given)
        return GuardrailFunctionOutput(None, tripwire_triggered=False)

    thread_id = person.new_thread()
    card = called(person, thread_id, "report_problem", "widget", order=1001)
    monkeypatch.setattr(server.app.state.server, "input_guardrails", [looking])
    entries = {"kind": "other", "text": "Torn"}
    press(person, thread_id, card, offered(card, "problem.send"), entries)
    assert [sorted(text.splitlines()) for text in seen] == [["kind: other", "text: Torn"]]


ZERO_WIDTH = "\u200b"
CARDS = {
    "plain": "4111111111111111",
    "grouped": NUMBER,
    "glued to letters": "card4111111111111111thanks",
    "dots": "4111.1111.1111.1111",
    "middle dots": "4111\u00b71111\u20221111\u22c51111",
    "wide dashes": "4111\u20131111\u20141111\u22121111",
    "no-break blanks": "4111\u00a01111\u202f1111\u30001111",
    "blanks that are letters": "4111\u31641111\u31641111\u28001111",
    "several blanks": "4111  1111 -- 1111 . 1111",
    "zero width": ZERO_WIDTH.join("4111111111111111"),
    "zero width in odd places": f"4{ZERO_WIDTH}1 11\u2060 1111\ufeff1 111\u00ad 11 11",
    "line breaks": "4111\n1111\r\n1111\n\n1111",
    "digit by digit": " ".join("4111111111111111"),
    "full-width digits": "4111111111111111".translate({48 + n: 0xFF10 + n for n in range(10)}),
    "arabic digits": "4111111111111111".translate({48 + n: 0x660 + n for n in range(10)}),
    "keycaps": "".join(f"{digit}\ufe0f\u20e3" for digit in "4111111111111111"),
    "mixed marks": "4111_1111/1111,1111",
    "after another number": "order 1001 4111 1111 1111 1111 12/27",
    "american express": "3782 822463 10005",
    "mastercard": "5555-5555-5555-4444",
    "19 digits": "6304 0000 0000 0000 000",
    "mistyped": "4222 2222 2222 2222",
}


@pytest.mark.parametrize("form", CARDS)
def test_the_desk_sees_a_card_however_it_is_written(form: str) -> None:
    assert has_card_number(f"Mine is {CARDS[form]}.")


NO_CARD = {
    "an order number of 13 digits": "4222222222222",
    "an EAN": "My coat is 4006381333931",
    "a number without the check digit": "order 4111111111111112",
    "a parcel of 20 digits": "00340434161094042557",
    "an IBAN": "DE89 3704 0044 0532 0130 00",
    "a phone": "+49 170 1234567 or 0049 30 901820",
    "years": "in 2023 2024 2025 2026",
    "a time": "2026-11-30 23:55:33.123456",
    "prices": "4.50, 1.20, 3.99, 5.49, 4.50, 1.20, 3.99, 5.49, 7.10",
    "orders": "1001, 1002, 1003, 1004",
    "an id": "018f4111-1111-7111-8111-111111111111",
}


@pytest.mark.parametrize("kind", NO_CARD)
def test_the_desk_takes_no_other_number_for_a_card(kind: str) -> None:
    assert not has_card_number(NO_CARD[kind])
