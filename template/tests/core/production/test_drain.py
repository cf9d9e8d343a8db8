"""The end of a server process, as its clients and its load balancer see it."""

import signal
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from app.core.production.ops.drain import CUT, Drain, DrainServer, DrainSettings

from ..chat import user_input
from ..fixtures import RunningServer, serve, wait_until
from ..http.test_lease import Listener, is_speaking
from ..http.test_stop import Talker


class Draining(DrainServer, Talker):
    pass


class Ending:
    """A server that gets signals as its process would, and uvicorn's handler behind them."""

    def __init__(self, server: RunningServer, **settings: float) -> None:
        self.server = server
        self.closed: list[int] = []
        state = server.app.state
        state.server = Draining(state.server.store, state.settings)
        own = dict.fromkeys((signal.SIGTERM, signal.SIGINT), self._close)
        given = drain_settings(**settings)
        self.drain: Drain = server.run(made(server.app, given, own))

    def _close(self, number: int, _: object) -> None:
        self.closed.append(number)
        self.server._uvicorn.handle_exit(number, None)

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.drain.on_signal(number)


def drain_settings(**values: Any) -> DrainSettings:
    return DrainSettings(**{"_env_file": None} | values)


async def made(*arguments: Any) -> Drain:
    return Drain(*arguments)


@pytest.fixture
def begin() -> Iterator[Callable[..., Ending]]:
    with serve(stream_heartbeat=0.1) as server:
        server._uvicorn.config.timeout_graceful_shutdown = 9
        yield lambda **settings: Ending(server, **settings)


def test_new_turns_and_the_balancer_get_503_while_the_rest_goes_on(
    begin: Callable[..., Ending],
) -> None:
    ending = begin(drain_delay=30)
    person, message = ending.server.person(), {"input": user_input()}
    running = Listener(person, "threads.create", **message)
    wait_until(lambda: is_speaking(running))

    ending.signal()
    wait_until(lambda: httpx.get(ending.server.url + "/ready").status_code == 503)
    refused = person.post("threads.add_user_message", thread_id=running.thread_id, **message)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
    assert refused.headers["retry-after"] == "30"
    assert len(person.items(running.thread_id)) == 1  # nothing of the refused turn is there
    heard = len(running.events)
    wait_until(lambda: len(running.events) > heard + 5)
    assert httpx.get(ending.server.url + "/health").status_code == 200
    assert ending.closed == []
    running.stop()


def test_the_sockets_close_after_the_delay_and_running_turns_end(
    begin: Callable[..., Ending],
) -> None:
    ending = begin(drain_delay=0.5, shutdown_grace=9)
    server = ending.server.app.state.server
    server.pause = 0.001
    running = Listener(ending.server.person(), "threads.create", input=user_input())
    wait_until(lambda: is_speaking(running))
    ending.signal()
    wait_until(lambda: ending.server.app.state.server.draining_for is not None)
    assert ending.closed == []
    running.wait()
    assert ending.closed == [signal.SIGTERM]
    said = [event for event in running.events if event["type"] == "thread.item.updated"]
    assert len(said) == 1000
    assert "error" not in [event["type"] for event in running.events]


def test_what_runs_after_the_grace_is_stored_and_its_reader_told(
    begin: Callable[..., Ending], errors: Callable[[], list[str]]
) -> None:
    ending = begin(drain_delay=0, shutdown_grace=0.3)
    running = Listener(ending.server.person(), "threads.create", input=user_input())
    wait_until(lambda: is_speaking(running))
    talker, store = ending.server.app.state.server, ending.server.store
    stored: list[str] = []
    add = store.add_thread_item

    async def watched(thread_id: str, item: Any, context: Any) -> None:
        await add(thread_id, item, context=context)
        stored.append(item.type)

    store.add_thread_item = watched  # type: ignore[method-assign]
    ending.signal()
    running.wait()
    *_, last = running.events
    assert last == {"type": "error", "code": "custom", "message": CUT, "allow_retry": True}
    assert stored == ["assistant_message", "sdk_hidden_context"]
    heard = [event for event in running.events if event["type"] == "thread.item.updated"]
    assert len(heard) == talker.produced < 1000
    assert errors() == []


def test_a_second_signal_ends_it_at_once_but_not_the_echo_of_the_first(
    begin: Callable[..., Ending], monkeypatch: pytest.MonkeyPatch
) -> None:
    ending = begin(drain_delay=30, shutdown_grace=30)
    running = Listener(ending.server.person(), "threads.create", input=user_input())
    wait_until(lambda: is_speaking(running))
    ending.signal()
    ending.signal()  # uvicorn's parent process tells its workers what they know
    heard = len(running.events)
    wait_until(lambda: len(running.events) > heard + 5)
    assert ending.closed == []
    monkeypatch.setattr("app.core.production.ops.drain.ECHO", 0)
    ending.signal()
    running.wait()
    assert ending.closed == [signal.SIGTERM]
    assert running.events[-1]["message"] == CUT


def test_nobody_waits_for_a_ctrl_c(begin: Callable[..., Ending]) -> None:
    ending = begin(drain_delay=30)
    ending.signal(signal.SIGINT)
    wait_until(lambda: ending.closed == [signal.SIGINT])


@pytest.mark.parametrize(("env", "seconds"), [("development", 0), ("production", 5)])
def test_the_delay_is_for_production(env: Any, seconds: float) -> None:
    assert drain_settings(app_env=env).seconds_of_503 == seconds
