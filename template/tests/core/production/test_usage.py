"""What a turn used is kept with its owner and day, however it ended; a day has an end."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from agents import Agent, Usage, handoff
from agents.testing import ModelStep, ScriptedModel, assistant_message, function_call
from openai.types.responses.response_usage import InputTokensDetails, OutputTokensDetails

from app.core.agent.run import RunSettings
from app.core.errors import StoreUnavailable
from app.core.production.ops.meter import LENGTH
from app.core.production.ops.usage import today
from app.core.production.ops.usage_store import UsageStore
from app.core.store import open_store
from app.core.store.base import BaseStore
from app.desk.guardrails import NO_PROMISES

from ..agent.test_model import NAME, credentials, standin
from ..agent.test_text_coalescing import Speaker
from ..chat import Json, Person, events_of, request, text_of, thread_id_of, user_input
from ..fixtures import RunningServer, serve, settings, wait_until
from ..store.test_store import ME, OTHERS
from .desk import calling, done, offered, press, script

__all__ = ["standin"]  # a fixture
ORDER = function_call("show_order", {"order": 1001}, call_id="1")


def step(given: int, made: int, *output: Any) -> ModelStep:
    """What a model answers, with its tokens; half of each is from a cache, or of reasoning."""
    details = {
        "input_tokens_details": InputTokensDetails(cached_tokens=given // 2, cache_write_tokens=0),
        "output_tokens_details": OutputTokensDetails(reasoning_tokens=made // 2),
    }
    usage = Usage(requests=1, input_tokens=given, output_tokens=made, **details)  # type: ignore[arg-type]
    return ModelStep(output=[*output], usage=usage)


def counts(turns: int, requests: int, given: int, made: int) -> Counter[str]:
    return Counter(
        turns=turns,
        requests=requests,
        input_tokens=given,
        cached_tokens=given // 2,
        output_tokens=made,
        reasoning_tokens=made // 2,
    )


def used(server: RunningServer, person: Person) -> Counter[str]:
    """What the store has of the person's day."""
    owner = server.context_of(person).owner
    found: Counter[str] = server.run(server.app.state.server.usage.of_day(owner, today()))
    return found


@pytest.fixture(autouse=True)
def _without_titles(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.app.state.server, "titles", None)


@pytest.fixture
def daily(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    answering = server.app.state.server

    def set_to(**values: int) -> None:
        changed = answering.daily.model_copy(update=values)
        monkeypatch.setattr(answering, "daily", changed)

    return set_to


def test_all_that_a_turn_asks_models_is_counted(server: RunningServer, person: Person) -> None:
    over = function_call("transfer_to_refunds", {}, call_id="2")
    answer = assistant_message("Done.")
    script(server, step(10, 2, ORDER), step(20, 4, over), step(30, 6, answer), step(8, 8, answer))
    thread_id = person.new_thread()
    assert used(server, person) == counts(1, 3, 60, 12)
    person.say("Again", thread_id)
    assert used(server, person) == counts(2, 4, 68, 20)
    assert used(server, server.person()) == Counter()


def test_models_of_agents_own_are_counted_too(
    server: RunningServer, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RunSettings, "is_offline", False)
    answer = ScriptedModel([step(20, 4, assistant_message("Done."))])
    over = handoff(Agent[Any](name="Second", model=answer), tool_name_override="go")
    call = ScriptedModel([step(10, 2, function_call("go", {}, call_id="1"))])
    first = Agent[Any](name="First", model=call, handoffs=[over])
    monkeypatch.setattr("app.server.assistant", first)
    assert text_of(person.say("Hello")) == "Done."
    assert used(server, person) == counts(1, 2, 30, 6)


def test_a_stop_keeps_what_was_told_until_then(server: RunningServer, person: Person) -> None:
    speaker = Speaker("word " * 1000, 0.01)
    script(server, step(10, 2, ORDER), ModelStep.stream(speaker))
    body = request("threads.create", input=user_input())
    with person.http.stream("POST", "/chatkit", json=body) as response:
        events = events_of(response)
        next(event for event in events if "text_delta" in str(event))
    wait_until(lambda: used(server, person))
    # The provider has not told yet what the answer that was cut costs.
    assert used(server, person) == Counter(counts(1, 2, 10, 2))


def test_a_turn_that_fails_has_used_what_it_used(server: RunningServer, person: Person) -> None:
    script(server, step(10, 2, ORDER), RuntimeError("broke"))
    assert person.say("Hello")[-1]["type"] == "error"
    assert used(server, person) == counts(1, 2, 10, 2)


def test_what_a_guardrail_stops_was_used(server: RunningServer, person: Person) -> None:
    script(server, step(10, 2, assistant_message("I promise it comes.")))
    assert NO_PROMISES in str(person.say("When?"))
    assert used(server, person) == counts(1, 1, 10, 2)


def test_a_turn_that_waits_for_an_answer_goes_on_counting_what_is_new(
    server: RunningServer, person: Person
) -> None:
    cancel = function_call("cancel_order", {"order": 1001}, call_id="1")
    script(server, step(10, 2, cancel), step(20, 4, assistant_message("Done.")))
    events = person.say("Cancel it")
    assert used(server, person) == counts(1, 1, 10, 2)
    [card] = done(events, "widget")
    yes = offered(card, "approval.answer", approve=True)
    assert text_of(press(person, thread_id_of(events), card, yes)) == "Done."
    assert used(server, person) == counts(2, 2, 30, 6)


def test_a_title_is_not_for_nothing(
    server: RunningServer, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()

    class Late(ScriptedModel):
        async def get_response(self, *args: Any, **rest: Any) -> Any:
            await asyncio.to_thread(over.wait, 10)
            return await ScriptedModel([step(6, 2, assistant_message("T"))]).get_response(
                *args, **rest
            )

    monkeypatch.setattr(RunSettings, "is_offline", False)
    monkeypatch.setattr("app.core.production.titles.PATIENCE", 0.01)
    monkeypatch.setattr(server.app.state.server, "titles", type(server.app.state.server).titles)
    late = Late([step(10, 2, assistant_message("Hello."))])
    monkeypatch.setattr(server.app.state.server, "model", late)
    person.new_thread()
    assert used(server, person) == counts(1, 1, 10, 2)
    over.set()
    wait_until(lambda: used(server, person) == counts(1, 2, 16, 4))  # after its turn has ended


def test_what_asks_no_model_is_no_turn(server: RunningServer, person: Person) -> None:
    calling(server, "list_orders")
    events = person.say("My orders")
    before = used(server, person)
    [card] = done(events, "widget")
    press(person, thread_id_of(events), card, offered(card, "order.open"))
    assert used(server, person) == before


@pytest.mark.parametrize("limit", [{"daily_tokens": 12}, {"daily_turns": 1}])
def test_a_day_that_is_used_up_is_told_with_its_end(
    server: RunningServer,
    person: Person,
    daily: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    limit: Json,
) -> None:
    daily(**limit)
    answer = assistant_message("Yes.")
    model = script(server, step(10, 2, answer), step(1, 1, answer), step(1, 1, answer))
    thread_id = person.new_thread()
    before = person.items(thread_id)

    tomorrow = f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%d} 00:00 UTC"
    for events in (person.say("More", thread_id), person.say("A new thread")):
        [error] = events
        assert (error["type"], error["code"], error["allow_retry"]) == ("error", "custom", False)
        assert tomorrow in error["message"]
    assert len(model.calls) == 1
    assert person.items(thread_id) == before  # not even the person's own message
    assert len(person.ask("threads.list")["data"]) == 1
    assert used(server, person)["turns"] == 1

    assert text_of(server.person().say("Another person")) == "Yes."
    monkeypatch.setattr("app.core.production.ops.usage.today", lambda: "2999-01-01")
    assert text_of(person.say("Another day", thread_id)) == "Yes."


def test_a_used_up_day_has_to_be_known_before_a_turn(
    server: RunningServer, person: Person, daily: Callable[..., None]
) -> None:
    """A store that cannot be asked is not taken for one that has nothing against it."""
    daily(daily_tokens=1)
    calls: list[str] = []

    async def broken(*_: object) -> Counter[str]:
        calls.append("asked")
        raise StoreUnavailable

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server.app.state.server.usage, "of_day", broken)
        assert person.post("threads.create", input=user_input()).status_code == 503
    assert calls == ["asked"]


def test_providers_are_asked_to_tell_the_tokens_of_a_stream(
    server: RunningServer, person: Person, daily: Callable[..., None]
) -> None:
    model = script(server, *([assistant_message("Yes.")] for _ in range(2)))
    thread_id = person.new_thread()
    daily(ask_for_usage=False)
    person.say("Again", thread_id)
    assert [call.model_settings.include_usage for call in model.calls] == [True, None]


def test_a_provider_tells_tokens_over_http_and_cuts_where_it_has_to(
    standin: RunningServer,
) -> None:
    with serve(**credentials(standin.url), model=NAME, max_output_tokens=16) as server:
        server.app.state.server.titles = None
        person = server.person()
        thread_id = person.new_thread("Hello")  # You said Hello again and again
        assert used(server, person) == Counter(turns=1, requests=1, input_tokens=7, output_tokens=6)
        events = person.say(" ".join("abcdefghijklmnopqrst"), thread_id)
        assert used(server, person)["output_tokens"] == 6 + 16
    assert text_of(events).split() == ["You", "said", *"abcdefghijklmn"]
    assert [event["message"] for event in events if event["type"] == "notice"] == [LENGTH]


def test_sums_are_an_owners_and_a_days_alone() -> None:
    async def check(store: BaseStore) -> None:
        usage, one = UsageStore(store), counts(1, 2, 10, 4)
        adding = (usage.add(ME.owner, "2026-01-01", one, str(number)) for number in range(9))
        await asyncio.gather(*adding)
        await usage.add(ME.owner, "2026-01-02", one, "next")
        for other in OTHERS:
            assert await usage.of_day(other.owner, "2026-01-01") == Counter()
            await usage.add(other.owner, "2026-01-01", one, "theirs")
            assert await usage.of_day(other.owner, "2026-01-01") == one
        assert await usage.of_day(ME.owner, "2026-01-01") == counts(9, 18, 90, 36)
        assert await usage.of_day(ME.owner, "2026-01-02") == one
        assert await usage.of_day(ME.owner, "2026-01-03") == Counter()

    run(check)


def test_what_is_sent_again_counts_once_also_after_others() -> None:
    """As where the answer to a statement was lost, and the turn's title was counted meanwhile."""

    async def check(store: BaseStore) -> None:
        usage, one = UsageStore(store), counts(1, 1, 10, 4)
        first = uuid4().hex
        for turn in (first, uuid4().hex, uuid4().hex):
            await usage.add(ME.owner, "2026-01-01", one, turn)
        if usage.run:  # in memory nothing is sent
            await usage.add(ME.owner, "2026-01-01", one, first)
        assert await usage.of_day(ME.owner, "2026-01-01") == counts(3, 3, 30, 12)
        for _ in range(40):
            await usage.add(ME.owner, "2026-01-01", one, uuid4().hex)
        assert await usage.of_day(ME.owner, "2026-01-01") == counts(43, 43, 430, 172)

    run(check)


def run(check: Any) -> None:
    async def opened() -> None:
        async with open_store(settings()) as store:
            await check(store)

    asyncio.run(opened())
