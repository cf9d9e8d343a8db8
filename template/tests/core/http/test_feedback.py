"""What people think of an answer is kept, and is theirs."""

import asyncio

from app.core.store import open_store
from app.core.store.base import begin_request

from ..cases import a_thread_of
from ..chat import Person
from ..fixtures import RunningServer, settings
from ..store.test_store import ME, OTHERS, a_thread, message


def test_feedback_is_kept_with_its_owner_thread_and_items(
    server: RunningServer, person: Person, stranger: Person
) -> None:
    thread_id, item_id = a_thread_of(person)
    about = {"thread_id": thread_id, "item_ids": [item_id]}
    assert person.ask("items.feedback", kind="positive", **about) == {}
    load = server.store.load_feedback
    context, other = server.context_of(person), server.context_of(stranger)
    assert server.run(load(thread_id, context)) == {item_id: "positive"}
    person.ask("items.feedback", kind="negative", **about)
    assert server.run(load(thread_id, context)) == {item_id: "negative"}
    assert stranger.post("items.feedback", kind="positive", **about).status_code == 404
    assert server.run(load(thread_id, other)) == {}


def test_feedback_stays_when_its_item_goes_and_goes_with_its_thread() -> None:
    async def check() -> None:
        async with open_store(settings()) as store:
            begin_request()
            thread, other = a_thread(), a_thread()
            for each in (thread, other):
                await store.save_thread(each, ME)
            items = [message(thread), message(thread)]
            for item in items:
                await store.add_thread_item(thread.id, item, ME)
            ids = [item.id for item in items]
            await store.save_feedback(thread.id, [*ids, "msg_unknown"], "positive", ME)
            await store.save_feedback(other.id, ids, "positive", ME)
            await store.save_feedback(thread.id, ids, "negative", OTHERS[0])
            await store.delete_thread_item(thread.id, ids[0], ME)
            assert await store.load_feedback(thread.id, ME) == dict.fromkeys(ids, "positive")
            assert await store.load_feedback(other.id, ME) == {}
            await store.delete_thread(thread.id, ME)
            assert await store.load_feedback(thread.id, ME) == {}

    asyncio.run(check())
