"""Buttons and forms: what they change, and whose, and what is refused."""

from collections.abc import Callable
from typing import Any, Literal

import pytest
from chatkit.types import WidgetItem
from chatkit.widgets import DynamicWidgetRoot, WidgetRoot
from pydantic import BaseModel

from app.core.production.actions import ActionContext, Actions, PageActionContext
from app.core.store.base import new_id
from app.desk import orders
from app.desk.actions import Note, actions

from ..chat import Json, Person, thread_id_of
from ..fixtures import RunningServer
from .desk import calling, done, hidden, items, lock, offered, plain, press

STALE = "This button does not work any more. Please reload the conversation."


def shown(server: RunningServer, person: Person, tool: str, **arguments: Any) -> tuple[str, Json]:
    """A thread, and the widget that a tool shows in it."""
    calling(server, tool, **arguments)
    events = person.say("Show me")
    return thread_id_of(events), done(events, "widget")[0]


def order_of(server: RunningServer, person: Person) -> orders.Order:
    return orders.find(server.context_of(person), 1001)


def sync(person: Person, thread_id: str, item: Json, action: Json) -> Any:
    sent = {"type": action["type"], "payload": action.get("payload")}
    about = {"thread_id": thread_id, "item_id": item["id"], "action": sent}
    return person.post("threads.sync_custom_action", **about)


def test_a_widget_of_an_earlier_turn_is_replaced_for_good(
    server: RunningServer, person: Person
) -> None:
    thread_id, card = shown(server, person, "show_order", order=1001)
    person.say("And now?", thread_id)
    order_of(server, person).status = "shipped"
    [new] = done(press(person, thread_id, card, offered(card, "order.refresh")), "widget")
    assert (new["id"], new["created_at"]) == (card["id"], card["created_at"])
    assert "shipped" in str(new["widget"])
    assert items(person, thread_id)[1] == new


def test_a_synchronous_action_saves_what_it_returns(server: RunningServer, person: Person) -> None:
    thread_id, card = shown(server, person, "show_order", order=1001)
    answer = sync(person, thread_id, card, offered(card, "order.watch"))
    updated = plain(answer.json()["updated_item"])
    assert "Stop watching" in str(updated["widget"])
    assert order_of(server, person).watched
    assert updated == items(person, thread_id)[1]


def test_a_line_of_a_list_shows_what_it_stands_for(server: RunningServer, person: Person) -> None:
    thread_id, card = shown(server, person, "list_orders", status="all")
    [new] = done(press(person, thread_id, card, offered(card, "order.open", order=1002)), "widget")
    assert new["id"] != card["id"]
    assert "Order 1002" in str(new["widget"])
    assert items(person, thread_id)[-1] == new


def test_a_form_is_saved_closed_and_known_to_the_model(
    server: RunningServer, person: Person
) -> None:
    thread_id, form = shown(server, person, "report_problem", order=1001)
    model: Any = server.app.state.server.model
    entries = {"kind": "missing", "text": ' No "lid"\n'}
    events = press(person, thread_id, form, offered(form, "problem.send"), entries)
    assert order_of(server, person).note == 'missing: No "lid"'
    assert 'No "lid"' in str(done(events, "widget")[0]["widget"])
    assert "problem.send" not in str(done(events, "widget")[0])
    assert "hidden" not in str(events)
    person.say("Did you get it?", thread_id)
    assert "reported a problem with order 1001" in str(model.calls[-1].input)


KIND, TEXT = "Please choose what kind of problem it is.", "Please write what is wrong."
ENTRIES: list[tuple[Json, str]] = [
    ({}, f"{KIND} {TEXT}"),
    ({"kind": "other", "text": " "}, TEXT),
    ({"kind": "other"}, TEXT),
    ({"kind": "x", "text": "y"}, KIND),
    ({"kind": "other", "text": ["y"]}, TEXT),
]


@pytest.mark.parametrize(("entries", "words"), ENTRIES)
def test_a_form_that_does_not_fit_says_which_entry(
    server: RunningServer,
    person: Person,
    entries: Json,
    words: str,
    errors: Callable[[], list[str]],
) -> None:
    thread_id, form = shown(server, person, "report_problem", order=1001)
    last = press(person, thread_id, form, offered(form, "problem.send"), entries)[-1]
    assert last["message"] == words
    assert order_of(server, person).note == ""
    assert items(person, thread_id)[1] == form
    assert errors() == []


def test_an_action_that_fails_with_words_tells_them_to_the_person(
    server: RunningServer, person: Person, errors: Callable[[], list[str]]
) -> None:
    thread_id, card = shown(server, person, "show_order", order=1001)
    del orders.orders_of(server.context_of(person))[0]
    told = "You have no order 1001, but 1002, 1003."
    assert press(person, thread_id, card, offered(card, "order.refresh"))[-1]["message"] == told
    answer = sync(person, thread_id, card, offered(card, "order.watch"))
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, told)
    assert errors() == []


def forged(card: Json) -> dict[str, Json]:
    """What a client could make of the card's button, by what is wrong with it."""
    action = offered(card, "order.watch")
    return {
        "another order": {"type": "order.watch", "payload": action["payload"] | {"order": 1002}},
        "a turned value": {
            "type": "order.watch",
            "payload": action["payload"] | {"watched": False},
        },
        "a value more": {"type": "order.watch", "payload": action["payload"] | {"text": "x"}},
        "no payload": {"type": "order.watch", "payload": None},
        "a list": {"type": "order.watch", "payload": [1001]},
        "another's type": {"type": "problem.close", "payload": {"order": 1001}},
        "a made-up type": {"type": "order.delete", "payload": {}},
        "a component's type": {"type": "Button", "payload": {}},
    }


@pytest.mark.parametrize("wrong", forged({"widget": {"type": "order.watch", "payload": {}}}))
@pytest.mark.parametrize("kind", ["threads.custom_action", "threads.sync_custom_action"])
def test_an_action_that_the_widget_does_not_offer_is_refused(
    server: RunningServer,
    person: Person,
    kind: str,
    wrong: str,
    errors: Callable[[], list[str]],
) -> None:
    thread_id, card = shown(server, person, "show_order", order=1001)
    before = [order.model_copy() for order in orders.orders_of(server.context_of(person))]
    if kind == "threads.custom_action":
        last = press(person, thread_id, card, forged(card)[wrong])[-1]
        assert last == {"type": "error", "code": "custom", "message": STALE, "allow_retry": False}
    else:
        answer = sync(person, thread_id, card, forged(card)[wrong])
        assert (answer.status_code, answer.json()["error"]["message"]) == (400, STALE)
    assert orders.orders_of(server.context_of(person)) == before
    assert items(person, thread_id)[1] == card
    assert errors() == []


REFRESH: Json = {"type": "order.refresh", "payload": {"order": 1001}}
NOT_OFFERED: dict[str, Json] = {
    "a line of a chart's data": {"type": "Chart", "data": [{"onClickAction": REFRESH}]},
    "another action's payload": {"onClickAction": {"type": "x", "payload": {"action": REFRESH}}},
    "what is not an action": {"type": "Text", "value": REFRESH},
    "an icon of a field's name": {
        "type": "Icon",
        "name": "order",
        "onClickAction": REFRESH | {"payload": {}},
    },
}


@pytest.mark.parametrize("place", NOT_OFFERED)
def test_only_an_actions_own_place_offers_it(
    server: RunningServer, person: Person, place: str
) -> None:
    """As a widget might look that shows what somebody else has written."""
    thread_id, _ = shown(server, person, "show_order", order=1001)
    part: Json = {"type": "Box", **NOT_OFFERED[place]}
    odd = shown_by_hand(server, person, thread_id, part)
    assert press(person, thread_id, odd, REFRESH)[-1]["message"] == STALE


def shown_by_hand(server: RunningServer, person: Person, thread_id: str, part: Json) -> Json:
    """A widget that no tool of the desk makes."""
    about = {"id": new_id("message"), "thread_id": thread_id, "created_at": "2026-01-01T00:00:00"}
    widget = DynamicWidgetRoot.model_validate({"type": "Card", "children": [part]})
    item = WidgetItem.model_validate({**about, "widget": widget})
    server.run(server.store.add_thread_item(thread_id, item, server.context_of(person)))
    return items(person, thread_id)[-1]


def test_a_button_whose_action_the_page_forwards_is_offered(
    server: RunningServer, person: Person
) -> None:
    thread_id, _ = shown(server, person, "show_order", order=1001)
    part = {"type": "Button", "label": "Fresh", "onClickAction": REFRESH | {"handler": "client"}}
    item = shown_by_hand(server, person, thread_id, part)
    [new] = done(press(person, thread_id, item, REFRESH), "widget")
    assert (new["id"], "Order 1001" in str(new)) == (item["id"], True)
    other = REFRESH | {"payload": {"order": 1002}}
    assert press(person, thread_id, item, other)[-1]["message"] == STALE


def test_a_field_without_words_is_named_by_its_label(
    server: RunningServer, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Plain(BaseModel):
        text: Literal["a"]
        kind: Literal["other"]

    monkeypatch.setitem(actions, "problem.send", (Plain, actions["problem.send"][1]))
    thread_id, form = shown(server, person, "report_problem", order=1001)
    press_send = offered(form, "problem.send")
    label = press(person, thread_id, form, press_send, {"text": "a", "kind": "x"})[-1]
    assert label["message"] == 'Please check your entry for "What is wrong?".'
    bare = press(person, thread_id, form, press_send, {"text": "b", "kind": "other"})[-1]
    assert bare["message"] == "Please check your entries."


def of_page(person: Person, thread_id: str, kind: str, payload: Any = None) -> list[Json]:
    sent = {"type": kind, "payload": payload}
    return person.stream("threads.custom_action", thread_id=thread_id, item_id=None, action=sent)


def test_the_page_sends_an_action_of_its_own(server: RunningServer, person: Person) -> None:
    model = calling(server, "show_order", order=1001)
    thread_id = thread_id_of(person.say("Show me"))
    assert "error" not in str(of_page(person, thread_id, "note", {"text": " By Monday "}))
    person.say("And now?", thread_id)
    assert "The customer noted on the page: By Monday" in str(model.calls[-1].input)


@pytest.mark.parametrize(
    ("kind", "payload", "words"),
    [
        ("note", {"text": " "}, "Please write a note of at most 500 characters."),
        ("note", None, "Please write a note of at most 500 characters."),
        ("note", [1], "Please check your entries."),
        ("order.refresh", {"order": 1001}, STALE),
        ("approval.answer", {"pending": "x", "approve": True}, STALE),
        ("made.up", {}, STALE),
    ],
)
def test_a_page_sends_only_what_its_owner_lists_and_what_fits(
    server: RunningServer, person: Person, kind: str, payload: Any, words: str
) -> None:
    thread_id, _ = shown(server, person, "show_order", order=1001)
    before = items(person, thread_id)
    last = of_page(person, thread_id, kind, payload)[-1]
    assert (last["type"], last["message"]) == ("error", words)
    assert items(person, thread_id) == before
    assert [one for one in hidden(server, person, thread_id) if "noted" in str(one)] == []


def test_a_type_of_the_page_is_not_one_of_a_widget(server: RunningServer, person: Person) -> None:
    """A widget that shows what somebody else has written does not get the page's rights."""
    thread_id, _ = shown(server, person, "show_order", order=1001)
    action = {"type": "note", "payload": {"text": "x"}}
    item = shown_by_hand(server, person, thread_id, {"type": "Box", "onClickAction": action})
    assert press(person, thread_id, item, action)[-1]["message"] == STALE


def test_a_page_may_wait_for_what_its_action_gives(
    server: RunningServer, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    async def note(acting: PageActionContext, given: Note) -> WidgetRoot | None:
        seen.append(given.text)
        return orders.card_of(orders.find(acting.context, 1001)) if given.text == "show" else None

    # As an owner registers it: the model is read from the annotation.
    registry = Actions()
    registry.from_page("note")(note)
    monkeypatch.setattr(actions, "of_page", registry.of_page)
    thread_id = person.new_thread()
    about: Json = {"thread_id": thread_id, "action": {"type": "note", "payload": {"text": "quiet"}}}
    assert person.ask("threads.sync_custom_action", **about).get("updated_item") is None
    about["action"]["payload"]["text"] = "show"
    new = person.ask("threads.sync_custom_action", **about)["updated_item"]
    assert items(person, thread_id)[-1] == plain(new)
    assert of_page(person, thread_id, "note", {"text": "quiet"})[-1]["type"] == "stream_options"
    [again] = done(of_page(person, thread_id, "note", {"text": "show"}), "widget")
    assert items(person, thread_id)[-1] == again
    assert seen == ["quiet", "show", "quiet", "show"]


def test_a_handler_of_the_page_without_a_model_is_refused_at_the_start() -> None:
    async def bare(acting: PageActionContext, given: Any) -> None:
        raise AssertionError

    with pytest.raises(TypeError, match="bare does not say the model"):
        Actions().from_page("bare")(bare)


@pytest.mark.parametrize("kind", ["threads.custom_action", "threads.sync_custom_action"])
def test_an_action_needs_its_widget(server: RunningServer, person: Person, kind: str) -> None:
    thread_id, card = shown(server, person, "show_order", order=1001)
    action = offered(card, "order.watch")
    sent = {"type": action["type"], "payload": action["payload"]}
    assert STALE in person.post(kind, thread_id=thread_id, action=sent).text
    own_message = items(person, thread_id)[0]["id"]
    assert "error" in person.post(kind, thread_id=thread_id, item_id=own_message, action=sent).text
    other = person.new_thread()
    answer = person.post(kind, thread_id=other, item_id=card["id"], action=sent)
    assert answer.status_code == 404
    assert not order_of(server, person).watched


@pytest.mark.parametrize("kind", ["threads.custom_action", "threads.sync_custom_action"])
def test_a_strangers_action_is_answered_like_one_on_nothing(
    server: RunningServer, person: Person, stranger: Person, kind: str
) -> None:
    thread_id, card = shown(server, person, "show_order", order=1001)
    action = offered(card, "order.watch")
    about: Json = {"item_id": card["id"], "action": action}
    foreign = stranger.post(kind, thread_id=thread_id, **about)
    missing = stranger.post(kind, thread_id="thr_" + "0" * 32, **about)
    assert (foreign.status_code, foreign.content) == (404, missing.content)
    assert not order_of(server, person).watched


def test_a_button_of_a_widget_that_was_replaced_is_stale(
    server: RunningServer, person: Person
) -> None:
    thread_id, form = shown(server, person, "report_problem", order=1001)
    press(person, thread_id, form, offered(form, "problem.close"))
    entries = {"kind": "other", "text": "Too late"}
    last = press(person, thread_id, form, offered(form, "problem.send"), entries)[-1]
    assert last["message"] == STALE
    assert order_of(server, person).note == ""


def test_the_same_button_changes_nothing_twice(server: RunningServer, person: Person) -> None:
    thread_id, card = shown(server, person, "show_order", order=1001)
    action = offered(card, "order.watch")
    assert sync(person, thread_id, card, action).status_code == 200
    assert sync(person, thread_id, card, action).json()["error"]["code"] == "action_refused"


@pytest.mark.parametrize("state", ["locked", "closed"])
def test_a_thread_that_takes_nothing_more_takes_no_action(
    server: RunningServer, person: Person, state: str
) -> None:
    thread_id, card = shown(server, person, "show_order", order=1001)
    lock(server, person, thread_id, state)
    told = f"This conversation is {state}."
    assert told in str(press(person, thread_id, card, offered(card, "order.refresh")))
    refused = sync(person, thread_id, card, offered(card, "order.watch"))
    assert (refused.status_code, refused.json()["error"]["message"]) == (400, told)
    assert not order_of(server, person).watched
    assert items(person, thread_id)[1] == card
    assert hidden(server, person, thread_id)


def test_a_slow_button_does_not_bring_a_deleted_widget_back(
    server: RunningServer, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread_id, card = shown(server, person, "show_order", order=1001)
    model, handler = actions["order.watch"]
    real: Any = handler

    async def slow(acting: ActionContext, given: Any) -> Any:
        await server.store.delete_thread_item(thread_id, card["id"], acting.context)
        return await real(acting, given)

    monkeypatch.setitem(actions, "order.watch", (model, slow))
    assert sync(person, thread_id, card, offered(card, "order.watch")).status_code == 404
    assert "widget" not in [item["type"] for item in items(person, thread_id)]
