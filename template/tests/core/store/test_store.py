"""What a store promises, held against the one that this project uses."""

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import pytest
from chatkit import types as ck
from chatkit.store import NotFoundError, Store
from pydantic import AnyUrl

from app.core.context import RequestContext
from app.core.errors import CursorError
from app.core.store import open_store
from app.core.store.base import BaseStore, Lease, TurnLost, begin_request, new_id

from ..fixtures import settings

ME = RequestContext(user_id="me")
OTHERS = [
    RequestContext(user_id="you"),
    RequestContext(user_id="me", org_id="a"),
    RequestContext(user_id="me", org_id="b"),
]
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901)

Check = Callable[[BaseStore], Awaitable[None]]


def with_store(check: Check) -> None:
    async def run() -> None:
        async with open_store(settings()) as store:
            await check(store)

    asyncio.run(run())


def a_thread(**fields: Any) -> ck.ThreadMetadata:
    return ck.ThreadMetadata(id=new_id("thread"), created_at=NOW, **fields)


def message(thread: ck.ThreadMetadata, text: str = "hi", id: str | None = None) -> ck.ThreadItem:
    content = [ck.AssistantMessageContent(text=text)]
    return ck.AssistantMessageItem(
        id=id or new_id("message"), thread_id=thread.id, created_at=NOW, content=content
    )


def every_item(thread_id: str) -> list[ck.ThreadItem]:
    base: Any = {"thread_id": thread_id, "created_at": NOW}
    url = ck.URLSource(title="t", url="https://example.com/ü")
    card: Any = {"type": "Card", "children": [{"type": "Text", "value": 'a "quoted" {{ text }}'}]}
    return [
        ck.UserMessageItem(
            id="u",
            content=[
                ck.UserMessageTextContent(text="naïve \U0001f600 \n\t"),
                ck.UserMessageTagContent(id="1", text="tag", data={"deep": [1, None, {"a": 0.1}]}),
            ],
            attachments=[ck.FileAttachment(id="f", name="n", mime_type="m", metadata={"k": 1})],
            quoted_text="quoted",
            inference_options=ck.InferenceOptions(
                model="m", tool_choice=ck.ToolChoice(id="roll_dice")
            ),
            **base,
        ),
        ck.AssistantMessageItem(
            id="a",
            content=[ck.AssistantMessageContent(text="x", annotations=[ck.Annotation(source=url)])],
            **base,
        ),
        ck.ClientToolCallItem(
            id="c", call_id="1", name="n", arguments={"a": [True]}, output={"b": None}, **base
        ),
        ck.WidgetItem.model_validate({"id": "w", "widget": card, "copy_text": "c", **base}),
        ck.GeneratedImageItem(id="g", image=ck.GeneratedImage(id="1", url="https://e.com"), **base),
        ck.StructuredInputItem(
            id="s",
            inputs=[
                ck.StructuredInputFreeform(
                    id="q", question="?", answer=ck.StructuredInputAnswer(values=["v"])
                )
            ],
            **base,
        ),
        ck.WorkflowItem(
            id="f",
            workflow=ck.Workflow(
                type="reasoning",
                tasks=[ck.ThoughtTask(content="hm"), ck.SearchTask(sources=[url])],
                summary=ck.DurationSummary(duration=3),
            ),
            **base,
        ),
        ck.TaskItem(id="t", task=ck.CustomTask(title="t", icon="sparkle"), **base),
        ck.HiddenContextItem(id="h", content={"call": {"x": [1, "2", None]}}, **base),
        ck.SDKHiddenContextItem(id="k", content="hidden", **base),
        ck.EndOfTurnItem(id="e", **base),
    ]


def test_the_samples_have_every_item_type() -> None:
    union = ck.ThreadItem.__origin__  # type: ignore[attr-defined]
    assert {type(item) for item in every_item("t")} == set(union.__args__)


def test_methods_keep_the_parameter_names_that_the_sdk_calls_them_by() -> None:
    async def check(store: BaseStore) -> None:
        for name in Store.__abstractmethods__:
            expected = list(inspect.signature(getattr(Store, name)).parameters)
            assert list(inspect.signature(getattr(type(store), name)).parameters) == expected

    with_store(check)


def test_what_goes_in_comes_out_equal() -> None:
    async def check(store: BaseStore) -> None:
        thread = a_thread(
            title="t",
            status=ck.LockedStatus(reason="r"),
            allowed_image_domains=["example.com"],
            metadata={"a": [1, {"b": None}]},
        )
        await store.save_thread(thread, ME)
        assert thread.model_fields_set == set(ck.ThreadMetadata.model_fields)
        assert await store.load_thread(thread.id, ME) == thread
        items = every_item(thread.id)
        for item in items:
            await store.add_thread_item(thread.id, item, ME)
        page = await store.load_thread_items(thread.id, None, 100, "asc", ME)
        assert page.data == items
        for item in items:
            assert await store.load_item(thread.id, item.id, ME) == item
        preview = AnyUrl("https://example.com/x.png")
        image = ck.ImageAttachment(
            id="i", name="n", mime_type="image/png", preview_url=preview, metadata={"k": [1]}
        )
        await store.save_attachment(image, ME)
        assert await store.load_attachment("i", ME) == image

    with_store(check)


def test_returned_objects_are_the_callers_own() -> None:
    async def check(store: BaseStore) -> None:
        thread, given = a_thread(metadata={"list": [1]}), None
        await store.save_thread(thread, ME)
        given = message(thread, "kept", "m")
        await store.add_thread_item(thread.id, given, ME)
        page = await store.load_thread_items(thread.id, None, 10, "asc", ME)
        threads = await store.load_threads(10, None, "desc", ME)
        loaded = await store.load_item(thread.id, "m", ME)
        for item in (given, page.data[0], loaded):
            item.content[0].text = "changed"  # type: ignore[union-attr]
        for known in (thread, threads.data[0], await store.load_thread(thread.id, ME)):
            known.metadata["list"].append(2)
        assert await store.load_item(thread.id, "m", ME) == message(thread, "kept", "m")
        assert (await store.load_thread(thread.id, ME)).metadata == {"list": [1]}

    with_store(check)


@pytest.mark.parametrize("other", OTHERS, ids=str)
def test_what_is_another_owners_does_not_exist(other: RequestContext) -> None:
    async def check(store: BaseStore) -> None:
        thread = a_thread(title="mine")
        file = ck.FileAttachment(id="f", name="n", mime_type="m")
        await store.save_thread(thread, ME)
        await store.add_thread_item(thread.id, message(thread, id="m"), ME)
        await store.save_attachment(file, ME)

        theirs = message(thread, "theirs", "m")
        attempts: list[Callable[[], Awaitable[Any]]] = [
            lambda: store.load_thread(thread.id, other),
            lambda: store.load_item(thread.id, "m", other),
            lambda: store.add_thread_item(thread.id, theirs, other),
            lambda: store.save_item(thread.id, theirs, other),
            lambda: store.delete_thread_item(thread.id, "m", other),
            lambda: store.delete_thread(thread.id, other),
            lambda: store.load_attachment("f", other),
            lambda: store.delete_attachment("f", other),
            lambda: store.take_lease(thread.id, 9, other),
        ]
        for attempt in attempts:
            with pytest.raises(NotFoundError):
                await attempt()
        _, generation = await store.take_lease(thread.id, 9, ME)
        assert generation is not None
        assert not await store.renew_lease(thread.id, generation, 9, other)
        await store.release_lease(thread.id, generation, other)
        assert (await store.take_lease(thread.id, 9, ME))[1] is None
        assert (await store.load_thread_items(thread.id, None, 10, "asc", other)).data == []
        assert (await store.load_threads(10, None, "desc", other)).data == []
        await store.save_thread(thread.model_copy(update={"title": "theirs"}), other)
        await store.save_attachment(file.model_copy(update={"name": "theirs"}), other)

        assert (await store.load_thread(thread.id, ME)).title == "mine"
        assert await store.load_item(thread.id, "m", ME) == message(thread, id="m")
        assert await store.load_attachment("f", ME) == file

    with_store(check)


async def fill(
    store: BaseStore, other: RequestContext
) -> tuple[ck.ThreadMetadata, ck.ThreadMetadata]:
    """Two threads that both owners have: the first with items of their own, the second empty."""
    thread, empty = a_thread(), a_thread()
    for owner, title, items in ((ME, "mine", "ab"), (other, "theirs", "x")):
        file = ck.FileAttachment(id="f", name=title, mime_type="m")
        await store.save_attachment(file, owner)
        await store.save_thread(thread.model_copy(update={"title": title}), owner)
        await store.save_thread(empty, owner)
        for item in items:
            await store.add_thread_item(thread.id, message(thread, id=item), owner)
    for owner, item in ((ME, "c"), (other, "y"), (other, "z")):
        await store.add_thread_item(thread.id, message(thread, id=item), owner)
    return thread, empty


@pytest.mark.parametrize("other", OTHERS, ids=str)
def test_owners_whose_ids_are_the_same_read_their_own(other: RequestContext) -> None:
    async def check(store: BaseStore) -> None:
        thread, empty = await fill(store, other)
        await store.add_thread_item(empty.id, message(empty, id="x"), other)
        for owner, title, items in ((ME, "mine", "abc"), (other, "theirs", "xyz")):
            for order, expected in (("asc", items), ("desc", items[::-1])):
                page = await store.load_thread_items(thread.id, expected[0], 9, order, owner)
                assert [item.id for item in page.data] == list(expected[1:])
            assert (await store.load_thread(thread.id, owner)).title == title
            assert (await store.load_attachment("f", owner)).name == title
            for order, first in (("asc", thread), ("desc", empty)):
                assert len((await store.load_threads(9, None, order, owner)).data) == 2
                assert len((await store.load_threads(9, first.id, order, owner)).data) == 1
        for order in ("asc", "desc"):
            for thread_id, unknown in ((thread.id, "y"), (empty.id, "x")):
                with pytest.raises(CursorError):
                    await store.load_thread_items(thread_id, unknown, 9, order, ME)

    with_store(check)


@pytest.mark.parametrize("other", OTHERS, ids=str)
def test_owners_whose_ids_are_the_same_write_their_own(other: RequestContext) -> None:
    async def check(store: BaseStore) -> None:
        thread, _ = await fill(store, other)
        begin_request()
        mine = await store.load_thread(thread.id, ME)
        await store.save_thread(mine.model_copy(update={"title": "renamed"}), ME)
        await store.delete_thread_item(thread.id, "a", ME)
        await store.delete_attachment("f", ME)
        await store.delete_thread(thread.id, ME)

        begin_request()
        assert (await store.load_thread(thread.id, other)).title == "theirs"
        page = await store.load_thread_items(thread.id, None, 9, "asc", other)
        assert [item.id for item in page.data] == ["x", "y", "z"]
        assert (await store.load_attachment("f", other)).name == "theirs"

    with_store(check)


@pytest.mark.parametrize("other", OTHERS, ids=str)
def test_owners_whose_ids_are_the_same_have_leases_of_their_own(other: RequestContext) -> None:
    async def check(store: BaseStore) -> None:
        thread, _ = await fill(store, other)
        lease = Lease(seconds=9)
        begin_request(lease)
        _, generation = await store.take_lease(thread.id, 9, ME)
        assert generation is not None
        lease.taken(thread.id, generation)
        with pytest.raises(NotFoundError):  # not TurnLost, though theirs has another generation
            await store.delete_thread_item(thread.id, "x", ME)

        assert (await store.take_lease(thread.id, 9, other))[1] == generation
        await store.release_lease(thread.id, generation, ME)
        assert (await store.take_lease(thread.id, 9, other))[1] is None
        assert (await store.take_lease(thread.id, 9, ME))[1] is not None
        with pytest.raises(TurnLost):
            await store.delete_thread_item(thread.id, "b", ME)
        assert await store.renew_lease(thread.id, generation, -1, other)
        assert (await store.take_lease(thread.id, 9, ME))[1] is None

    with_store(check)


def test_what_is_missing_is_not_found() -> None:
    async def check(store: BaseStore) -> None:
        thread = a_thread()
        await store.save_thread(thread, ME)
        attempts: list[Callable[[], Awaitable[Any]]] = [
            lambda: store.load_thread("thr_1", ME),
            lambda: store.delete_thread("thr_1", ME),
            lambda: store.add_thread_item("thr_1", message(thread), ME),
            lambda: store.save_item("thr_1", message(thread), ME),
            lambda: store.load_item(thread.id, "m", ME),
            lambda: store.delete_thread_item(thread.id, "m", ME),
            lambda: store.load_attachment("f", ME),
            lambda: store.delete_attachment("f", ME),
        ]
        for attempt in attempts:
            with pytest.raises(NotFoundError):
                await attempt()

    with_store(check)


def test_an_item_that_is_added_again_is_replaced_in_its_place() -> None:
    async def check(store: BaseStore) -> None:
        thread = a_thread()
        await store.save_thread(thread, ME)
        for name in ("1", "2", "3"):
            await store.add_thread_item(thread.id, message(thread, name, name), ME)
        await store.add_thread_item(thread.id, message(thread, "new", "2"), ME)
        page = await store.load_thread_items(thread.id, None, 10, "asc", ME)
        assert [item.id for item in page.data] == ["1", "2", "3"]
        assert page.data[1] == message(thread, "new", "2")

    with_store(check)


def test_items_are_paged_in_the_order_in_which_they_were_added() -> None:
    async def check(store: BaseStore) -> None:
        thread = a_thread()
        await store.save_thread(thread, ME)
        ids = [new_id("message") for _ in range(7)][::-1]  # neither ids nor times give the order
        for item_id in ids:
            await store.add_thread_item(thread.id, message(thread, id=item_id), ME)
        for order, expected in (("asc", ids), ("desc", ids[::-1])):
            found: list[str] = []
            after, more = None, True
            while more:
                page = await store.load_thread_items(thread.id, after, 3, order, ME)
                found += [item.id for item in page.data]
                after, more = page.after, page.has_more
                assert after == (found[-1] if more else None)
            assert found == expected
        with pytest.raises(CursorError):
            await store.load_thread_items(thread.id, "msg_unknown", 3, "asc", ME)

    with_store(check)


def test_a_page_of_threads_continues_where_the_thread_at_the_cursor_was_deleted() -> None:
    async def check(store: BaseStore) -> None:
        threads = [a_thread() for _ in range(6)]
        for thread in threads:
            await store.save_thread(thread, ME)
        first = await store.load_threads(3, None, "desc", ME)
        assert first.after is not None
        await store.delete_thread(first.after, ME)
        rest = await store.load_threads(3, first.after, "desc", ME)
        ids = [thread.id for thread in first.data + rest.data]
        assert ids == [thread.id for thread in reversed(threads)]
        with pytest.raises(CursorError):
            await store.load_threads(3, "thr_nonsense", "desc", ME)

    with_store(check)


def test_a_page_after_a_deleted_item_looks_at_the_items_of_its_owner_alone() -> None:
    async def check(store: BaseStore) -> None:
        thread = a_thread()
        for owner, count in [(one, 9) for one in OTHERS] + [(ME, 3)]:
            await store.save_thread(thread, owner)
            for _ in range(count):
                item = message(thread, id=new_id("message"))
                await store.add_thread_item(thread.id, item, owner)
        mine = (await store.load_thread_items(thread.id, None, 9, "asc", ME)).data
        await store.delete_thread_item(thread.id, mine[1].id, ME)
        rest = await store.load_thread_items(thread.id, mine[1].id, 9, "asc", ME)
        assert rest.data == mine[2:]

    with_store(check)


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_a_page_of_items_continues_where_the_item_at_the_cursor_was_deleted(order: Any) -> None:
    async def check(store: BaseStore) -> None:
        thread = a_thread()
        await store.save_thread(thread, ME)
        ids = [new_id("message") for _ in range(6)]
        for item_id in ids:
            await store.add_thread_item(thread.id, message(thread, id=item_id), ME)
        first = await store.load_thread_items(thread.id, None, 3, order, ME)
        assert first.after is not None
        await store.delete_thread_item(thread.id, first.after, ME)
        rest = await store.load_thread_items(thread.id, first.after, 3, order, ME)
        found = [item.id for item in first.data + rest.data]
        assert found == (ids if order == "asc" else ids[::-1])
        for item_id in ids[:5] if order == "asc" else ids[1:]:
            if item_id != first.after:
                await store.delete_thread_item(thread.id, item_id, ME)
        last = await store.load_thread_items(thread.id, found[-1], 3, order, ME)
        assert (last.data, last.has_more, last.after) == ([], False, None)

    with_store(check)


def hidden_ones(thread: ck.ThreadMetadata) -> list[ck.ThreadItem]:
    base: Any = {"thread_id": thread.id, "created_at": NOW}
    return [
        ck.HiddenContextItem(id=new_id("message"), content={"call": 'a "quote" and \0'}, **base),
        ck.SDKHiddenContextItem(id=new_id("message"), content="hidden", **base),
    ]


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_a_page_for_the_client_leaves_hidden_items_out_and_a_models_does_not(order: Any) -> None:
    quoted = '"type":"hidden_context_item"'

    async def check(store: BaseStore) -> None:
        thread = a_thread()
        await store.save_thread(thread, ME)
        items: list[ck.ThreadItem] = []
        for _ in range(3):
            items += [*hidden_ones(thread), message(thread, quoted), *hidden_ones(thread)]
        for item in items:
            await store.add_thread_item(thread.id, item, ME)
        in_order = items if order == "asc" else items[::-1]
        assert (await store.load_thread_items(thread.id, None, 99, order, ME)).data == in_order
        begin_request(for_client=True)
        shown = [item for item in in_order if item.type == "assistant_message"]
        first = await store.load_thread_items(thread.id, None, 2, order, ME)
        assert (first.data, first.has_more) == (shown[:2], True)
        rest = await store.load_thread_items(thread.id, first.after, 2, order, ME)
        assert (rest.data, rest.has_more, rest.after) == (shown[2:], False, None)
        begin_request()

    with_store(check)


def test_a_deleted_thread_takes_its_items_along() -> None:
    async def check(store: BaseStore) -> None:
        thread = a_thread()
        await store.save_thread(thread, ME)
        await store.add_thread_item(thread.id, message(thread, id="m"), ME)
        await store.delete_thread(thread.id, ME)
        await store.save_thread(thread, ME)
        assert (await store.load_thread_items(thread.id, None, 10, "asc", ME)).data == []

    with_store(check)


def test_writers_of_one_thread_lose_nothing() -> None:
    async def check(store: BaseStore) -> None:
        thread = a_thread()
        await store.save_thread(thread, ME)
        items = [message(thread) for _ in range(50)]
        await asyncio.gather(*(store.add_thread_item(thread.id, item, ME) for item in items))
        page = await store.load_thread_items(thread.id, None, 100, "asc", ME)
        assert sorted(item.id for item in page.data) == sorted(item.id for item in items)

    with_store(check)


def test_a_turns_own_save_keeps_a_rename_and_brings_nothing_back() -> None:
    async def check(store: BaseStore) -> None:
        thread = a_thread(title="old")
        await store.save_thread(thread, ME)

        async def rename() -> None:
            begin_request()
            mine = await store.load_thread(thread.id, ME)
            mine.title = "renamed"
            await store.save_thread(mine, ME)

        begin_request()
        turn = await store.load_thread(thread.id, ME)
        await asyncio.create_task(rename())
        await store.load_thread(thread.id, ME)  # looking again is no reason to forget
        turn.metadata["seen"] = True
        await store.save_thread(turn, ME)
        stored = await store.load_thread(thread.id, ME)
        assert (stored.title, stored.metadata) == ("renamed", {"seen": True})

        await store.delete_thread(thread.id, ME)
        with pytest.raises(NotFoundError):
            await store.save_thread(turn, ME)

    with_store(check)


def test_a_later_save_does_not_repeat_what_an_earlier_one_wrote() -> None:
    async def check(store: BaseStore) -> None:
        thread = a_thread(title="old")
        await store.save_thread(thread, ME)
        begin_request()
        turn = await store.load_thread(thread.id, ME)
        turn.title = "by the turn"
        await store.save_thread(turn, ME)

        async def rename() -> None:
            begin_request()
            mine = await store.load_thread(thread.id, ME)
            await store.save_thread(mine.model_copy(update={"title": "by me"}), ME)

        await asyncio.create_task(rename())
        turn.metadata["seen"] = True
        await store.save_thread(turn, ME)
        begin_request()
        assert (await store.load_thread(thread.id, ME)).title == "by me"

    with_store(check)


def test_what_changed_while_a_turn_waited_stays_so() -> None:
    """The turn before gives a title, and then the person does."""

    async def check(store: BaseStore) -> None:
        thread = a_thread()
        begin_request()
        await store.save_thread(thread, ME)
        _, first = await store.take_lease(thread.id, 9, ME)
        assert first is not None

        async def retitle(title: str) -> None:
            begin_request()
            mine = await store.load_thread(thread.id, ME)
            mine.title = title
            await store.save_thread(mine, ME)

        begin_request()
        assert (await store.take_lease(thread.id, 9, ME))[1] is None
        await asyncio.create_task(retitle("of the turn before"))
        await store.release_lease(thread.id, first, ME)
        assert (await store.take_lease(thread.id, 9, ME))[1] is not None
        turn = await store.load_thread(thread.id, ME)
        await asyncio.create_task(retitle("the person's"))
        turn.metadata["seen"] = True
        await store.save_thread(turn, ME)
        assert (await store.load_thread(thread.id, ME)).title == "the person's"

    with_store(check)


def test_one_turn_at_a_time_has_a_threads_lease() -> None:
    async def check(store: BaseStore) -> None:
        thread = a_thread(title="t")
        await store.save_thread(thread, ME)
        taken = await asyncio.gather(*(store.take_lease(thread.id, 9, ME) for _ in range(20)))
        assert [found for found, _ in taken] == [thread] * 20
        [first] = [generation for _, generation in taken if generation is not None]

        assert await store.renew_lease(thread.id, first, 9, ME)
        assert (await store.take_lease(thread.id, 9, ME))[1] is None
        await store.release_lease(thread.id, first, ME)
        _, second = await store.take_lease(thread.id, 9, ME)
        assert second is not None
        assert second > first
        await store.release_lease(thread.id, first, ME)  # it is not the first one's any more
        assert (await store.take_lease(thread.id, 9, ME))[1] is None
        assert not await store.renew_lease(thread.id, first, 9, ME)

    with_store(check)


def test_a_lease_that_is_not_renewed_expires() -> None:
    async def check(store: BaseStore) -> None:
        thread = a_thread()
        await store.save_thread(thread, ME)
        _, first = await store.take_lease(thread.id, 0.3, ME)
        assert first is not None
        await asyncio.sleep(0.2)
        assert await store.renew_lease(thread.id, first, 0.3, ME)
        await asyncio.sleep(0.2)
        assert (await store.take_lease(thread.id, 9, ME))[1] is None
        await asyncio.sleep(0.2)
        assert (await store.take_lease(thread.id, 9, ME))[1] is not None
        assert not await store.renew_lease(thread.id, first, 9, ME)

    with_store(check)


@pytest.mark.parametrize("status", [ck.LockedStatus(), ck.ClosedStatus()])
def test_a_thread_that_is_not_active_has_no_lease_to_take(status: ck.ThreadStatus) -> None:
    async def check(store: BaseStore) -> None:
        thread = a_thread(status=status)
        await store.save_thread(thread, ME)
        assert await store.take_lease(thread.id, 9, ME) == (thread, None)

    with_store(check)


def test_a_turn_whose_lease_another_has_taken_over_writes_nothing() -> None:
    async def check(store: BaseStore) -> None:
        thread = a_thread()
        await store.save_thread(thread, ME)
        await store.add_thread_item(thread.id, message(thread, id="m"), ME)
        lease = Lease(seconds=0.01)
        begin_request(lease)
        found, generation = await store.take_lease(thread.id, 0.01, ME)
        lease.taken(thread.id, generation)
        await store.save_thread(found.model_copy(update={"title": "mine"}), ME)
        await asyncio.sleep(0.05)
        await store.add_thread_item(thread.id, message(thread, id="late"), ME)  # nobody minds yet
        assert (await store.take_lease(thread.id, 9, ME))[1] is not None

        late = message(thread, "changed", "m")
        attempts: list[Callable[[], Awaitable[Any]]] = [
            lambda: store.add_thread_item(thread.id, late, ME),
            lambda: store.add_thread_item(thread.id, message(thread), ME),
            lambda: store.save_item(thread.id, late, ME),
            lambda: store.delete_thread_item(thread.id, "m", ME),
            lambda: store.save_thread(found.model_copy(update={"title": "changed"}), ME),
        ]
        for attempt in attempts:
            with pytest.raises(TurnLost):
                await attempt()
        begin_request()
        assert (await store.load_thread(thread.id, ME)).title == "mine"
        page = await store.load_thread_items(thread.id, None, 10, "asc", ME)
        assert page.data[0] == message(thread, id="m")
        assert [item.id for item in page.data] == ["m", "late"]

    with_store(check)


def test_a_turn_holds_the_lease_of_the_thread_that_it_makes() -> None:
    async def check(store: BaseStore) -> None:
        thread, other, lease = a_thread(), a_thread(), Lease(seconds=9)
        begin_request(lease)
        await store.save_thread(thread, ME)
        assert lease.thread_id == thread.id
        assert lease.generation is not None
        assert (await store.take_lease(thread.id, 9, ME))[1] is None
        await store.save_thread(other, ME)  # only the first is the turn's
        assert (await store.take_lease(other.id, 9, ME))[1] is not None
        await store.add_thread_item(thread.id, message(thread), ME)
        await store.release_lease(thread.id, lease.generation, ME)
        assert (await store.take_lease(thread.id, 9, ME))[1] is not None

    with_store(check)


def test_a_turn_whose_thread_was_deleted_does_not_find_it() -> None:
    async def check(store: BaseStore) -> None:
        thread, lease = a_thread(), Lease(seconds=9)
        begin_request(lease)
        await store.save_thread(thread, ME)
        await store.delete_thread(thread.id, ME)
        attempts: list[Callable[[], Awaitable[Any]]] = [
            lambda: store.add_thread_item(thread.id, message(thread), ME),
            lambda: store.delete_thread_item(thread.id, "m", ME),
            lambda: store.save_thread(thread.model_copy(update={"title": "late"}), ME),
        ]
        for attempt in attempts:
            with pytest.raises(NotFoundError):
                await attempt()

    with_store(check)


def test_ids_are_random_keep_their_prefix_and_sort_by_creation() -> None:
    async def check(store: BaseStore) -> None:
        thread = a_thread()
        ids = [store.generate_thread_id(ME) for _ in range(2000)]
        assert ids == sorted(set(ids))
        assert all(re.fullmatch("thr_[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}", i) for i in ids)
        assert store.generate_item_id("message", thread, ME).startswith("msg_")
        assert store.generate_item_id("workflow", thread, ME).startswith("wf_")
        tails = {int(i[-15:], 16) for i in ids} | {int(i[-19:-16], 16) for i in ids}
        assert len(tails) > 2000  # both parts after the time vary

    with_store(check)


@pytest.mark.parametrize(("user_id", "org_id"), [("", None), (" ", None), ("me", "")])
def test_an_empty_owner_is_refused(user_id: str, org_id: str | None) -> None:
    with pytest.raises(ValueError, match="must not be empty"):
        RequestContext(user_id=user_id, org_id=org_id)
