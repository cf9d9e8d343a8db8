"""A thread's title: made beside the first answer, late if need be, never over a person's own."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from agents import Agent, RunContextWrapper
from agents.testing import ModelStep, ScriptedModel, assistant_message

from app.core.agent.run import Context, RunSettings

from ..agent.test_model import NAME, credentials, standin
from ..agent.test_text_coalescing import Speaker
from ..chat import Json, Person, events_of, request, thread_id_of, user_input
from ..fixtures import RunningServer, serve, wait_until

__all__ = ["standin"]  # a fixture


class Titling(ScriptedModel):
    """Answers what is streamed, and gives a title, after a while, to what is not."""

    def __init__(self, title: Any, seconds: float, steps: Any = None) -> None:
        answers = [[assistant_message(f"Answer {number}.")] for number in range(9)]
        super().__init__(steps or answers)
        self.title, self.seconds, self.asked = title, seconds, 0

    async def get_response(self, *args: Any, **rest: Any) -> Any:
        self.asked += 1
        await asyncio.sleep(self.seconds)
        return await ScriptedModel([self.title]).get_response(*args, **rest)


@pytest.fixture
def titling(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Titling]:
    monkeypatch.setattr(RunSettings, "is_offline", False)
    monkeypatch.setattr("app.core.production.titles.PATIENCE", 0.3)

    def begin(title: Any = "A lost parcel", seconds: float = 0.0, steps: Any = None) -> Titling:
        step = title if isinstance(title, Exception) else [assistant_message(title)]
        model = Titling(step, seconds, steps)
        monkeypatch.setattr(server.app.state.server, "model", model)
        return model

    return begin


def title_of(person: Person, thread_id: str) -> str | None:
    title: str | None = person.ask("threads.get_by_id", thread_id=thread_id).get("title")
    return title


def told(events: list[Json]) -> list[str]:
    changed = [e["thread"].get("title") for e in events if e["type"] == "thread.updated"]
    return [title for title in changed if title]


def test_the_first_answer_brings_a_title(person: Person, titling: Callable[..., Titling]) -> None:
    model = titling(' "A lost parcel." ')
    events = person.say("Where is my parcel?")
    assert told(events) == ["A lost parcel"]
    assert title_of(person, thread_id_of(events)) == "A lost parcel"
    again = person.say("Where is it?", thread_id_of(events))
    assert (told(again), model.asked) == ([], 1)


def test_no_title_is_asked_for_before_the_first_text(
    person: Person, titling: Callable[..., Titling]
) -> None:
    asked: list[int] = []

    async def speak(call: object) -> AsyncIterator[Any]:
        async for event in Speaker("one two")(call):
            asked.append(model.asked)
            yield event
            if event.type == "response.output_text.delta":
                return

    model = titling(steps=[ModelStep.stream(speak)])
    assert told(person.say("Where is my parcel?")) == []  # the answer was cut: it failed
    assert set(asked) == {0}


def test_an_answer_that_fails_asks_for_no_title(
    standin: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.core.agent.retries.FIRST_DELAY", 0.02)
    standin.app.state.log.clear()
    with serve(**credentials(standin.url), model=NAME) as failing:
        assert failing.person().say("status 500")[-1]["type"] == "error"
    assert len(standin.app.state.log) == 3


def test_a_title_that_fails_is_not_asked_for_again(standin: RunningServer) -> None:
    standin.app.state.log.clear()
    with serve(**credentials(standin.url), model=NAME) as server:
        server.person().say("no title")
        wait_until(lambda: not server.app.state.server._naming)
    [asked] = [asked for asked in standin.app.state.log if not asked.body.get("stream")]
    assert asked.said == "no title"


def test_a_title_is_given_up_where_the_answer_fails(
    server: RunningServer, person: Person, titling: Callable[..., Titling]
) -> None:
    broken = ModelStep.stream(Speaker("one two three", 0.02, fails_after=2))
    model = titling(seconds=60.0, steps=[broken])
    events = person.say("Where is my parcel?")
    assert events[-1]["type"] == "error"
    wait_until(lambda: not server.app.state.server._naming)
    assert model.asked == 1
    assert title_of(person, thread_id_of(events)) is None


def test_a_titler_has_the_runs_context_and_may_have_its_own_model(
    server: RunningServer,
    person: Person,
    titling: Callable[..., Titling],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def instructions(ctx: RunContextWrapper[Context], _: Any) -> str:
        return f"Name the conversation, in {ctx.context.request_context.locale}."

    own = ScriptedModel([[assistant_message("A parcel that is away")]])
    titler = Agent[Context](name="Titles", instructions=instructions, model=own)
    monkeypatch.setattr(server.app.state.server, "titles", titler)
    model = titling()
    assert told(person.say("Where is my parcel?")) == ["A parcel that is away"]
    assert model.asked == 0
    assert own.calls[0].system_instructions == "Name the conversation, in en."


def test_a_title_that_takes_long_is_there_at_the_next_reload(
    person: Person, titling: Callable[..., Titling]
) -> None:
    titling(seconds=1.0)
    events = person.say("Where is my parcel?")
    assert told(events) == []
    assert title_of(person, thread_id_of(events)) is None
    wait_until(lambda: title_of(person, thread_id_of(events)) == "A lost parcel")


def test_the_end_of_the_server_waits_for_a_title_that_is_thought_of(
    server: RunningServer,
    person: Person,
    titling: Callable[..., Titling],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    titling(seconds=0.5)
    monkeypatch.setattr("app.core.production.titles.PATIENCE", 0.0)
    thread_id = thread_id_of(person.say("Where is my parcel?"))
    monkeypatch.setattr("app.core.production.titles.PATIENCE", 5.0)
    server.run(server.app.state.server.close())
    assert title_of(person, thread_id) == "A lost parcel"


def test_the_end_of_the_server_comes_while_the_store_is_open() -> None:
    ended: list[str] = []
    with serve() as other:

        async def close() -> None:
            ended.append((await other.app.state.server.store.ready()) or "store is open")

        other.app.state.server.close = close
        other.stop()
    assert ended == ["store is open"]


@pytest.mark.parametrize("seconds", [0.15, 0.6], ids=["in time", "late"])
def test_a_persons_own_title_wins(
    server: RunningServer, person: Person, titling: Callable[..., Titling], seconds: float
) -> None:
    model = titling(seconds=seconds)
    person.ask("threads.list")  # a visitor's cookie has to be there before the second request
    store = server.store
    add = store.add_thread_item

    async def renaming(thread_id: str, item: Any, context: Any) -> None:
        await add(thread_id, item, context)
        if item.type == "assistant_message":
            await asyncio.to_thread(person.ask, "threads.update", thread_id=thread_id, title="Mine")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "add_thread_item", renaming)
        events = person.say("Where is my parcel?")
    wait_until(lambda: not server.app.state.server._naming)
    assert told(events) == []
    assert title_of(person, thread_id_of(events)) == "Mine"
    assert model.asked == 1


def test_a_title_that_fails_does_not_hurt_the_answer(
    person: Person, titling: Callable[..., Titling], errors: Callable[[], list[str]]
) -> None:
    titling(RuntimeError("sk-secret"))
    events = person.say("Hello")
    assert [e["type"] for e in events if e["type"] == "error"] == []
    [line] = errors()
    assert "a thread got no title" in line
    assert "sk-secret" not in line


def test_offline_the_first_words_are_the_title(person: Person) -> None:
    events = person.say("one two three four five six seven")
    assert told(events)[-1] == "one two three four five six"


def test_what_guards_answers_does_not_guard_titles(
    person: Person, titling: Callable[..., Titling], errors: Callable[[], list[str]]
) -> None:
    titling("What we promise here")
    assert told(person.say("Hello")) == ["What we promise here"]
    assert errors() == []


def test_what_a_guardrail_stops_becomes_no_title(server: RunningServer, person: Person) -> None:
    events = person.say("My card is 4111 1111 1111 1111")
    assert [e["level"] for e in events if e["type"] == "notice"][-1] == "warning"
    wait_until(lambda: not server.app.state.server._naming)
    assert told(events) == []
    assert title_of(person, thread_id_of(events)) is None


def test_who_leaves_while_a_title_is_thought_of_stops_nothing(
    server: RunningServer,
    person: Person,
    titling: Callable[..., Titling],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The answer is whole: the model is not told, in later turns, that somebody cancelled it."""
    waits = threading.Event()

    async def think(*given: Any) -> str:
        await given[-1].wait()  # until the answer has ended
        waits.set()
        await asyncio.sleep(60)
        return ""

    titling()
    monkeypatch.setattr(server.app.state.server, "_name", think)
    monkeypatch.setattr("app.core.production.titles.PATIENCE", 60.0)
    body = request("threads.create", input=user_input("Where is my parcel?"))
    with person.http.stream("POST", "/chatkit", json=body) as response:
        events = events_of(response)
        thread_id = next(events)["thread"]["id"]
        assert waits.wait(10)
    wait_until(lambda: not server.app.state.turns)
    kinds = [item.type for item in server.stored(person, thread_id)]
    assert kinds == ["user_message", "assistant_message"]
    [naming] = server.app.state.server._naming
    naming.get_loop().call_soon_threadsafe(naming.cancel)
