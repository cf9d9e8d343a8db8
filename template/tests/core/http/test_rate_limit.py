"""How much one owner may ask for, and that nobody else pays for it."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter as Window

from app.core.config import stop_on_problems
from app.core.context import RequestContext
from app.core.errors import ApiError
from app.core.http.rate_limit import RateLimit, open_rate_limit
from app.core.settings import load_settings

from ..chat import Person, user_input
from ..fixtures import RunningServer, serve, settings, wait_until
from .test_lease import Listener, is_speaking, talking
from .test_stop import Talker

TOO_MANY = "Other answers are still being written to you. Please try again after one of them."
ADA = RequestContext(user_id="ada")


def test_one_request_too_many_is_429_with_the_seconds_to_wait() -> None:
    with serve(rate_limit="2/hour") as server:
        person, other = server.person(), server.person()
        person.ask("threads.list")
        person.ask("threads.list")
        refused = person.post("threads.create", input=user_input("A word too many"))
        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "too_many_requests"
        assert 1 <= int(refused.headers["retry-after"]) <= 3600
        assert other.ask("threads.list")["data"] == []  # from the same address


def later(patch: pytest.MonkeyPatch, seconds: float) -> None:
    """Put the clock that windows go by forward, which is faster than to wait."""
    now = time.time
    patch.setattr(time, "time", lambda: now() + seconds)


def test_after_the_seconds_to_wait_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(rate_limit="2/minute") as server:
        person = server.person()
        refused = next(r for _ in range(9) if (r := person.post("threads.list")).is_error)
        later(monkeypatch, int(refused.headers["retry-after"]))
        assert person.ask("threads.list")["data"] == []


def test_a_connection_of_ones_own_is_no_way_around_it() -> None:
    with serve(rate_limit="3/hour") as server:
        first = server.person()
        first.ask("threads.list")
        again = Person(server.url, **dict(first.http.headers))
        again.http.cookies = first.http.cookies
        statuses = [again.post("threads.list").status_code for _ in range(3)]
    assert statuses == [200, 200, 429]


def test_each_of_several_rates_counts() -> None:
    with serve(rate_limit="1000/second;2/hour") as server:
        person = server.person()
        statuses = [person.post("threads.list").status_code for _ in range(3)]
    assert statuses == [200, 200, 429]


def test_owners_whose_names_run_together_are_counted_apart() -> None:
    async def run() -> None:
        async with open_rate_limit(settings(rate_limit="1/hour")) as limit:
            await limit.count(RequestContext(user_id="b/c", org_id="a"))
            await limit.count(RequestContext(user_id="c", org_id="a/b"))
            with pytest.raises(ApiError, match="Too many"):
                await limit.count(RequestContext(user_id="c", org_id="a/b"))

    asyncio.run(run())


class Away(Window):
    """Counts elsewhere, where nobody answers."""

    def __init__(self) -> None:
        super().__init__(MemoryStorage())
        self.asked, self.answers = 0, False

    async def hit(self, *_: Any, **__: Any) -> bool:
        self.asked += 1
        if not self.answers:
            raise ConnectionError("redis://ada:hunter2@db")
        return True


def test_a_storage_that_is_away_is_told_once_and_replaced_by_counting_here(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = Away()
    limit = RateLimit("3/hour", Window(MemoryStorage()), away)

    async def run() -> None:
        for _ in range(3):
            await limit.count(ADA)
        assert away.asked == 1  # the others do not wait for it
        with pytest.raises(ApiError):
            await limit.count(ADA)
        monkeypatch.setattr("app.core.http.rate_limit.PAUSE", 0)
        limit._away_until = 1e-9
        with pytest.raises(ApiError):
            await limit.count(ADA)
        away.answers = True
        await limit.count(ADA)
        await limit.count(ADA)

    asyncio.run(run())
    told = [record.getMessage() for record in caplog.records]
    assert [("cannot be used" in line, "again" in line) for line in told] == [
        (True, False),
        (False, True),
    ]
    assert "hunter2" not in str(told)


def test_owners_that_are_gone_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.core.http.rate_limit.SWEEP", 0.05)

    async def run() -> None:
        async with open_rate_limit(settings(rate_limit="9/second")) as limit:
            memory: Any = limit.here.storage
            for number in range(100):
                await limit.count(RequestContext(user_id=f"visitor {number}"))
            assert len(memory.storage) >= 100
            later(monkeypatch, 2.2)  # such a window is over after two of its times
            await asyncio.sleep(0.2)
            assert {*memory.storage, *memory.expirations, *memory.locks} == set()

    asyncio.run(run())


@pytest.mark.parametrize("rate", ["many", "10", "0/minute", "10/fortnight", "-1/second", "1/s;x"])
def test_a_rate_that_cannot_be_read_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, rate: str
) -> None:
    monkeypatch.setenv("RATE_LIMIT", rate)
    with pytest.raises(SystemExit, match=r"RATE_LIMIT does not fit: write .* as in 120/minute"):
        load_settings()


@pytest.mark.parametrize("url", ["localhost:6379", "http://redis", "redis://a b", "redis://h:port"])
def test_an_address_that_is_none_of_redis_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("RATE_LIMIT_URL", url)
    with pytest.raises(SystemExit, match="RATE_LIMIT_URL does not fit: write it as in redis://"):
        load_settings()


def test_redis_without_its_client_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.core.http.rate_limit.find_spec", lambda _: None)
    with pytest.raises(SystemExit, match=r"RATE_LIMIT_URL needs .*uv add 'limits\[redis\]'"):
        stop_on_problems(settings(rate_limit_url="redis://ada:sesame@db:6379/1"))


@pytest.fixture
def two_at_once() -> Iterator[tuple[RunningServer, Talker]]:
    """A server that talks without an end, to each owner in two streams at most."""
    yield from talking(answers_at_once=2)


def test_answers_at_once_are_bounded_for_each_owner_and_told_in_the_stream(
    two_at_once: tuple[RunningServer, Talker],
) -> None:
    server, talker = two_at_once
    person, other = server.person(), server.person()
    person.ask("threads.list")  # from here on an anonymous visitor has a cookie
    first, second = (Listener(person, "threads.create", input=user_input()) for _ in range(2))
    wait_until(lambda: is_speaking(first) and is_speaking(second))

    for thread_id in (None, first.thread_id):
        events = person.say("One too many", thread_id)
        told = {"type": "error", "code": "custom", "message": TOO_MANY, "allow_retry": True}
        assert events == [told]
    assert len(person.ask("threads.list")["data"]) == 2
    assert "One too many" not in str(server.stored(person, first.thread_id))

    others = Listener(other, "threads.create", input=user_input())
    wait_until(lambda: is_speaking(others))
    others.stop()
    first.stop()
    wait_until(lambda: sum(talker.answering._running.values()) == 1)
    again = Listener(person, "threads.create", input=user_input())
    wait_until(lambda: is_speaking(again))
    again.stop()
    second.stop()
    wait_until(lambda: not talker.answering._running)


def test_a_turn_that_cannot_begin_is_not_counted_for_ever(
    server: RunningServer, person: Person
) -> None:
    missing = "thr_0190000000007000800000000000beef"
    for _ in range(10):
        answer = person.post("threads.add_user_message", thread_id=missing, input=user_input())
        assert answer.status_code == 404
    assert not server.app.state.server.answering._running
