"""A model's words leave joined: in order, the first at once, and none is lost at a Stop."""

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from agents import ModelSettings as Tuning
from agents import ModelTracing
from agents.testing import ModelStep, ScriptedModel, assistant_message
from openai.types.responses import ResponseTextDeltaEvent

from app.core.agent.run import RunSettings

from ..chat import Json, events_of, request, text_of, user_input
from ..fixtures import RunningServer, serve, wait_until

ALWAYS = 60.0  # a window that no test outlives


@dataclass
class Speaker:
    """Says a text word by word, `pause` seconds apart, or waits until each has been heard."""

    text: str
    pause: float = 0.0
    waits: bool = False
    fails_after: int = 1_000_000
    said: list[str] = field(default_factory=list)
    heard: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    async def __call__(self, _: object) -> AsyncIterator[Any]:
        whole = ScriptedModel([[assistant_message(self.text, item_id="msg_1")]])
        events = whole.stream_response(
            None, "", Tuning(), [], None, [], ModelTracing.DISABLED,
            previous_response_id=None, conversation_id=None, prompt=None,
        )  # fmt: skip
        async for event in events:
            if not isinstance(event, ResponseTextDeltaEvent):
                yield event
                continue
            for word in self.text.split(" "):
                if len(self.said) == self.fails_after:
                    raise RuntimeError("the model broke")
                self.said.append(f"{word} " if len(self.said) < self.text.count(" ") else word)
                yield event.model_copy(update={"delta": self.said[-1]})
                await asyncio.sleep(self.pause)
                if self.waits:
                    await asyncio.to_thread(self.heard.acquire, timeout=5)


@pytest.fixture(autouse=True)
def _with_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunSettings, "is_offline", False)
    monkeypatch.setattr("app.core.agent.run.build_model", lambda _: ScriptedModel([]))


def let_speak(server: RunningServer, speaker: Speaker) -> None:
    server.app.state.server.model = ScriptedModel([ModelStep.stream(speaker)])
    server.app.state.server.titles = None  # at the level that has them: they ask the model too


def pieces(events: list[Json]) -> list[str]:
    updates = [event["update"] for event in events if event["type"] == "thread.item.updated"]
    return [u["delta"] for u in updates if u["type"] == "assistant_message.content_part.text_delta"]


def test_words_that_come_together_leave_joined_and_in_order() -> None:
    text = " ".join(map(str, range(500)))
    with serve() as server:
        let_speak(server, Speaker(text))
        events = server.person().say("Count")
    assert "".join(pieces(events)) == text_of(events) == text
    assert len(pieces(events)) < 50


@pytest.mark.parametrize(("window", "pause"), [(0.05, 0.1), (0.0, 0.0), (0.2, 0.0)])
def test_a_word_waits_for_no_longer_than_the_window(window: float, pause: float) -> None:
    with serve(text_window=window) as server:
        speaker = Speaker("one two three", pause, waits=True)
        let_speak(server, speaker)
        found: list[Json] = []
        with server.person().http.stream(
            "POST", "/chatkit", json=request("threads.create", input=user_input())
        ) as response:
            for event in events_of(response):
                found.append(event)
                if pieces([event]):
                    speaker.heard.release()
    assert pieces(found) == ["one ", "two ", "three"]


def test_the_first_word_does_not_wait_for_the_window() -> None:
    with serve(text_window=ALWAYS) as server:
        speaker = Speaker("one two three", waits=True)
        let_speak(server, speaker)
        with server.person().http.stream(
            "POST", "/chatkit", json=request("threads.create", input=user_input())
        ) as response:
            events = events_of(response)
            first = next(event for event in events if pieces([event]))
            assert speaker.said == ["one "]
            for _ in range(3):
                speaker.heard.release()
            rest = list(events)
    assert pieces([first]) == ["one "]
    assert pieces(rest) == ["two three"]  # the end of a message does not wait either


def test_a_stop_within_the_window_keeps_every_word_that_was_said() -> None:
    with serve(text_window=ALWAYS) as server:
        person = server.person()
        speaker = Speaker("word " * 1000, waits=True)
        let_speak(server, speaker)
        body = request("threads.create", input=user_input())
        with person.http.stream("POST", "/chatkit", json=body) as response:
            events = events_of(response)
            thread_id = next(events)["thread"]["id"]
            next(event for event in events if pieces([event]))
            speaker.heard.release(19)
            wait_until(lambda: len(speaker.said) == 20)
        wait_until(lambda: server.stored(person, thread_id)[-1].type == "sdk_hidden_context")
        speaker.heard.release()  # the thread that waits for it
        [_, answer] = person.items(thread_id)
    assert answer["content"][0]["text"] == "word " * 20
    assert len(speaker.said) == 20


def test_what_was_said_before_a_model_broke_arrives_before_the_error() -> None:
    with serve(text_window=ALWAYS) as server:
        let_speak(server, Speaker("one two three four five", 0.02, fails_after=4))
        events = server.person().say("Count")
    assert "".join(pieces(events)) == "one two three four "
    assert [event["type"] for event in events][-1] == "error"
