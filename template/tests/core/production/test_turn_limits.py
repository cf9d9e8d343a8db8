"""A turn that goes on for too long ends with what there is, and with words for the person."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from agents import Usage, function_tool
from agents.testing import ModelStep, ScriptedModel, assistant_message, function_call
from openai.types.responses import ResponseCompletedEvent, ResponseIncompleteEvent

from app.core.production.ops.meter import CALLS, LENGTH, LimitReached
from app.core.production.ops.turn_limits import LONG, SECONDS, STEPS, within

from ..agent.test_text_coalescing import Speaker, let_speak, pieces
from ..chat import Json, Person, text_of, thread_id_of
from ..fixtures import RunningServer, wait_until
from .desk import hidden, script

Limits = Callable[..., None]
RUN: list[str] = []


@function_tool
async def look(where: str) -> str:
    """Looks somewhere."""
    RUN.append(where)
    if where == "far":
        await asyncio.sleep(60)
    return f"nothing {where}"


def calls(*places: str) -> list[Any]:
    return [function_call("look", {"where": place}, call_id=f"call_{place}") for place in places]


def told(usage: int, *output: Any) -> ModelStep:
    return ModelStep(output=[*output], usage=Usage(requests=1, output_tokens=usage))


@pytest.fixture(autouse=True)
def limits(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> Limits:
    """Gives the server other limits for the rest of a test."""
    RUN.clear()
    answering = server.app.state.server
    monkeypatch.setattr(answering, "extra_tools", (look,))
    monkeypatch.setattr(answering, "titles", None)

    def set_to(**values: Any) -> None:
        changed = answering.settings.model_copy(update=values)
        monkeypatch.setattr(answering, "settings", changed)
        monkeypatch.setattr(answering, "limits", changed)

    return set_to


def notices(events: list[Json]) -> list[str]:
    told = [event["message"] for event in events if event["type"] == "notice"]
    assert "error" not in [event["type"] for event in events]
    return [text for text in told if "offline" not in text]


def said(person: Person, events: list[Json]) -> list[str]:
    """What the assistant said, as it is after a reload."""
    items = person.items(thread_id_of(events))
    return [i["content"][0]["text"] for i in items if i["type"] == "assistant_message"]


def test_an_answer_that_takes_too_long_ends_there_and_stays(
    server: RunningServer, person: Person, limits: Limits, errors: Callable[[], list[str]]
) -> None:
    limits(turn_seconds=0.8, text_window=60.0)  # all words but the first wait for the window
    before, speaker = server.tasks(), Speaker("word " * 500, waits=True)
    speaker.heard.release(19)
    let_speak(server, speaker)
    events = person.say("Speak")
    assert notices(events) == [SECONDS]
    assert "".join(pieces(events)) == text_of(events) == "word " * 20
    assert said(person, events) == [text_of(events)]
    speaker.heard.release(100)
    wait_until(lambda: server.tasks() == before)  # neither the run nor the model goes on
    assert len(speaker.said) == 20
    assert errors() == []


def test_a_tool_that_takes_too_long_is_stopped(
    server: RunningServer, person: Person, limits: Limits
) -> None:
    limits(turn_seconds=0.8)
    before = server.tasks()
    script(server, [assistant_message("I look."), *calls("near")], calls("far"))
    events = person.say("Look")
    assert notices(events) == [SECONDS]
    assert said(person, events) == ["I look."]
    assert RUN == ["near", "far"]
    assert "nothing near" in str(hidden(server, person, thread_id_of(events)))
    wait_until(lambda: server.tasks() == before)
    script(server, [assistant_message("It goes on.")])
    assert text_of(person.say("Again", thread_id_of(events))) == "It goes on."


@pytest.mark.parametrize("stopped", [False, True], ids=["alone", "and then a Stop"])
def test_what_is_stopped_in_time_says_its_last_words_and_cleans_up(stopped: bool) -> None:
    seen, over = list[Any](), asyncio.Event()

    async def talking() -> Any:
        try:
            yield "first"
            await asyncio.sleep(9)
        except asyncio.CancelledError:
            yield "last"
            over.set()
            await asyncio.sleep(0.1)
            seen.append("clean")
            raise

    async def turn() -> None:
        async for event in within(0.05, talking()):
            seen.append(event)

    async def run() -> None:
        task = asyncio.create_task(turn())
        if stopped:
            await over.wait()
            task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError if stopped else LimitReached):
        asyncio.run(run())
    assert seen == ["first", "last"] + ["clean"] * (not stopped)


def test_a_model_that_never_ends_calling_tools_is_stopped_with_what_it_said(
    server: RunningServer, person: Person, limits: Limits
) -> None:
    limits(max_turns=2)
    model = script(server, *([assistant_message(str(n)), *calls(str(n))] for n in range(3)))
    events = person.say("Look")
    assert notices(events) == [STEPS]
    assert said(person, events) == ["0", "1"]
    assert (len(model.calls), RUN) == (2, ["0", "1"])
    assert str(hidden(server, person, thread_id_of(events))).count("nothing") == 2


def test_tools_of_one_call_too_many_are_not_run(
    server: RunningServer, person: Person, limits: Limits
) -> None:
    limits(max_tool_calls=3)
    steps = [calls("a", "b"), [assistant_message("Two more."), *calls("c", "d")], calls("e")]
    model = script(server, *steps)
    events = person.say("Look")
    assert notices(events) == [CALLS]
    assert said(person, events) == ["Two more."]
    assert (len(model.calls), sorted(RUN)) == (2, ["a", "b"])
    script(server, calls("f"), [assistant_message("Each turn begins anew.")])
    assert notices(person.say("Again", thread_id_of(events))) == []


def test_who_takes_a_turn_over_takes_over_what_is_left_of_it(
    server: RunningServer, person: Person, limits: Limits
) -> None:
    limits(max_tool_calls=1)
    over = function_call("transfer_to_refunds", {}, call_id="1")
    refund = function_call("refund_order", {"order": 1003}, call_id="2")
    model = script(server, [over], [assistant_message("I see to it."), refund])
    events = person.say("My money")
    assert notices(events) == [CALLS]
    assert said(person, events) == ["I see to it."]
    assert len(model.calls) == 2


def test_the_model_is_told_how_much_it_may_still_say(
    server: RunningServer, person: Person, limits: Limits
) -> None:
    limits(max_output_tokens=100)
    steps = [told(60, *calls("a")), told(30, *calls("b")), told(10, *calls("c"))]
    model = script(server, *steps, told(1))
    events = person.say("Look")
    assert notices(events) == [LENGTH]
    # OpenAI takes no limit below 16.
    assert [call.model_settings.max_tokens for call in model.calls] == [100, 40, 16]
    thread_id = thread_id_of(events)
    short = assistant_message("Short enough.")
    for steps in ([told(99, short)], [told(90, *calls("a")), told(15, short)]):  # 15 of 16
        script(server, *steps)
        assert notices(person.say("Again", thread_id)) == []


def test_an_answer_that_the_provider_cuts_at_the_limit_stays(
    server: RunningServer, person: Person, limits: Limits
) -> None:
    limits(max_output_tokens=5)
    whole = ScriptedModel([told(5, assistant_message("one two three", item_id="msg_1"))])

    async def cut(call: Any) -> Any:
        asked = {"previous_response_id": None, "conversation_id": None, "prompt": None}
        given: Any = (None, "", call.model_settings, [], None, [], None)
        async for event in whole.stream_response(*given, **asked):  # type: ignore[arg-type]
            if event.type == "response.output_item.done":
                continue
            if isinstance(event, ResponseCompletedEvent):
                kind: Any = "response.incomplete"
                yield ResponseIncompleteEvent(
                    response=event.response, sequence_number=event.sequence_number, type=kind
                )
                return
            yield event

    script(server, ModelStep.stream(cut))
    events = person.say("Count")
    assert notices(events) == [LENGTH]
    assert said(person, events) == ["one two three"]


def test_the_oldest_of_a_long_conversation_is_left_out_as_a_whole(
    server: RunningServer, person: Person, limits: Limits
) -> None:
    script(server, [assistant_message("old " * 400)], calls("a"), [assistant_message("Here.")])
    thread_id = thread_id_of(person.say("An old message"))
    person.say("Look", thread_id)

    limits(history_tokens=400)
    model = script(server, *([assistant_message("Yes.")] for _ in range(4)))
    events = person.say("New", thread_id)
    given: Any = model.calls[-1].input
    kinds = [item.get("type", item.get("role")) for item in given]
    assert "old" not in str(given)
    assert "Look" in str(given)
    assert kinds.count("function_call") == kinds.count("function_call_output") == 1
    assert notices(events) == [LONG]
    assert notices(person.say("Again", thread_id)) == []  # once is enough


def test_what_the_person_just_said_and_pairs_of_call_and_output_stay_whole(
    server: RunningServer, person: Person, limits: Limits
) -> None:
    script(server, calls("a"), [assistant_message("Here.")])
    thread_id = thread_id_of(person.say("Look"))
    model = script(server, *([assistant_message("Yes.")] for _ in range(30)))
    pairs = set()
    for tokens in range(1, 200, 9):
        limits(history_tokens=tokens)
        person.say("The newest", thread_id)
        given: Any = model.calls[-1].input
        assert given[-1]["content"][0]["text"] == "The newest"
        kinds = [item.get("type") for item in given]
        pairs.add((kinds.count("function_call"), kinds.count("function_call_output")))
    assert len(model.calls[0].input) == 1
    assert pairs <= {(0, 0), (1, 1)}
