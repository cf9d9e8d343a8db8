"""The walk in README.md: each sentence does offline what stands beside it."""

import pytest

from ..chat import Person, text_of, thread_id_of
from ..fixtures import RunningServer
from .desk import done

# What to write, and what is in the events that come.
WALK = {
    "list orders": ("progress_update", "ListView", "order.open", "1001"),
    "show order 1001": ("Image", "order.watch", "order.refresh", "open"),
    "show order 9": ("You have no order 9",),
    "track parcel 1002": ("Asking the carrier", "it arrives tomorrow"),
    "cancel order 1001": ("approval.answer", "cancel order: order 1001"),
    "report problem 1001": ("Form", "problem.send", "Textarea"),
    "show spending": ("Chart", "EUR in all"),
    "return policy": ("widget.streaming_text.value_delta", "30 days"),
    "point at order 1001": ("client_effect", "point_at_order"),
    "current page": ("client_tool_call", "current_page", "pending"),
    "check return 1002": ("workflow", "Read the rules", "It can be sent back."),
    "shop rules": ("annotations", "https://www.example.com/rules", "within 30 days"),
    "ask which order": ("structured_input", "Which order is it about?", "1001"),
    "transfer to refunds": ("transfer_to_refunds", "Refunds"),
    "My card is 4111 1111 1111 1111": ("notice", "card"),
    "close conversation": ("notice", "This conversation is closed."),
}


@pytest.mark.parametrize("sentence", WALK)
def test_a_sentence_of_the_walk_does_what_the_readme_says(person: Person, sentence: str) -> None:
    events = person.say(sentence)
    assert [seen for seen in WALK[sentence] if seen not in str(events)] == []
    assert [event for event in events if event["type"] == "error"] == []


def test_the_walk_can_be_done_in_one_conversation(server: RunningServer, person: Person) -> None:
    thread_id = person.new_thread()
    for sentence, expected in WALK.items():
        events = person.say(sentence, thread_id)
        assert [seen for seen in expected if seen not in str(events)] == [], sentence
    [refused] = person.say("Thank you", thread_id)
    assert refused["message"] == "You have ended this conversation."


def test_an_answered_question_is_what_the_person_said(person: Person) -> None:
    events = person.say("ask which order")
    [asked] = done(events, "structured_input")
    choice = asked["inputs"][0]["options"][1]["value"]
    answer = {"answers": {"order": {"values": [choice]}}}
    about = {"thread_id": thread_id_of(events), "item_id": asked["id"], "input": answer}
    events = person.stream("threads.add_structured_input", **about)
    assert text_of(events).startswith(f'You said: "- Which order is it about?: {choice}".')
