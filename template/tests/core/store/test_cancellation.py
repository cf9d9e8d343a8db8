"""A Stop at any moment of any method: no connection is lost, and no lock stays taken."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

import pytest
from chatkit import types as ck
from chatkit.store import NotFoundError

from app.core.store import open_store
from app.core.store.base import BaseStore, begin_request

from ..fixtures import settings
from ..stores import at_rest, contended
from .test_store import ME, a_thread, message

Call = Callable[[BaseStore, ck.ThreadMetadata], Awaitable[Any]]

KNOWN = ck.FileAttachment(id="known", name="n", mime_type="m")
CALLS: dict[str, Call] = {
    "load_thread": lambda store, thread: store.load_thread(thread.id, ME),
    "save_thread": lambda store, thread: store.save_thread(thread, ME),
    "save_new_thread": lambda store, _: store.save_thread(a_thread(), ME),
    "take_lease": lambda store, thread: store.take_lease(thread.id, -1, ME),
    "renew_lease": lambda store, thread: store.renew_lease(thread.id, 1, -1, ME),
    "release_lease": lambda store, thread: store.release_lease(thread.id, 1, ME),
    "load_threads": lambda store, _: store.load_threads(9, None, "desc", ME),
    "delete_thread": lambda store, _: store.delete_thread("thr_none", ME),
    "load_thread_items": lambda store, thread: store.load_thread_items(
        thread.id, "known", 9, "desc", ME
    ),
    "add_thread_item": lambda store, thread: store.add_thread_item(thread.id, message(thread), ME),
    "load_item": lambda store, thread: store.load_item(thread.id, "known", ME),
    "delete_thread_item": lambda store, thread: store.delete_thread_item(thread.id, "none", ME),
    "save_feedback": lambda store, thread: store.save_feedback(
        thread.id, ["known"], "positive", ME
    ),
    "load_feedback": lambda store, thread: store.load_feedback(thread.id, ME),
    "save_attachment": lambda store, _: store.save_attachment(KNOWN, ME),
    "load_attachment": lambda store, _: store.load_attachment("known", ME),
    "delete_attachment": lambda store, _: store.delete_attachment("none", ME),
    "ready": lambda store, _: store.ready(),
}
ENDS = (None, NotFoundError)


class Watched(Coroutine[Any, Any, Any]):
    """A coroutine that reports each time it stops to wait."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], waits: Callable[[], None]) -> None:
        self.coroutine, self.waits = coroutine, waits

    def send(self, value: Any) -> Any:
        waited_for = self.coroutine.send(value)
        self.waits()
        return waited_for

    def throw(self, *error: Any) -> Any:
        waited_for = self.coroutine.throw(*error)
        self.waits()
        return waited_for

    def close(self) -> None:
        self.coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self.coroutine.__await__()


async def cancelled_at(number: int, times: int, call: Callable[[], Awaitable[Any]]) -> bool:
    """Run `call` and cancel it as it, or a task that it began, stops to wait that often.

    Then again at the next waits, until it was cancelled `times`. False where it ended before.
    """
    loop, waits, sent = asyncio.get_running_loop(), 0, 0

    def count() -> None:
        nonlocal waits, sent
        waits += 1
        if waits >= number and sent < times and not task.done():
            sent += 1
            loop.call_soon(task.cancel)

    async def called() -> None:
        await call()

    def watched(loop: Any, coroutine: Any, **named: Any) -> asyncio.Task[Any]:
        return asyncio.Task(Watched(coroutine, count), loop=loop, **named)

    before = loop.get_task_factory()
    loop.set_task_factory(watched)
    try:
        task: asyncio.Task[None] = asyncio.Task(Watched(called(), count))
        await asyncio.wait({task})
    finally:
        loop.set_task_factory(before)
    if not task.cancelled():
        assert isinstance(task.exception(), NotFoundError | None)
    return sent > 0


@pytest.mark.parametrize("is_contended", [False, True], ids=["free", "contended"])
@pytest.mark.parametrize("times", [1, 2])
def test_a_method_that_is_cancelled_at_any_moment_leaves_nothing_behind(
    times: int, is_contended: bool
) -> None:
    async def check() -> None:
        async with open_store(settings()) as store:
            begin_request()
            thread = a_thread()
            await store.save_thread(thread, ME)
            await store.add_thread_item(thread.id, message(thread, id="known"), ME)
            await store.save_attachment(KNOWN, ME)
            for name, call in CALLS.items():
                number = 1
                while await cancel(store, thread, call, number):
                    number += 1
                    assert number < 50, f"{name} does not end"
                await at_rest(store)
            assert (await store.load_item(thread.id, "known", ME)).id == "known"

    async def cancel(store: Any, thread: ck.ThreadMetadata, call: Call, number: int) -> bool:
        async def called() -> None:
            await call(store, thread)

        if not is_contended:
            return await cancelled_at(number, times, called)
        async with contended(store):
            return await cancelled_at(number, times, called)

    asyncio.run(asyncio.wait_for(check(), 60))
