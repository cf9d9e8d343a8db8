"""One valid request of each ChatKit request type, on a thread that exists."""

from typing import Any, get_args

from chatkit import types as ck

from .chat import Json, Person, request, user_input


def request_types() -> set[str]:
    """Every request type, read from the SDK: a new one fails the tests until it is covered."""
    union = get_args(ck.ChatKitReq)[0]
    return {member.model_fields["type"].default for member in get_args(union)}


def cases(thread_id: str, item_id: str, attachment_id: str = "atc_missing") -> dict[str, Json]:
    """Requests by type; the ids are those of the thread that they are about."""
    action = {"type": "press", "payload": {}}
    about: dict[str, dict[str, Any]] = {
        "threads.create": {"input": user_input()},
        "threads.list": {"limit": 10},
        "threads.get_by_id": {"thread_id": thread_id},
        "threads.update": {"thread_id": thread_id, "title": "A title"},
        "threads.delete": {"thread_id": thread_id},
        "threads.add_user_message": {"thread_id": thread_id, "input": user_input()},
        "threads.retry_after_item": {"thread_id": thread_id, "item_id": item_id},
        "threads.add_client_tool_output": {"thread_id": thread_id, "result": {"ok": True}},
        "threads.add_structured_input": {
            "thread_id": thread_id,
            "item_id": item_id,
            "input": {"answers": {}},
        },
        "threads.custom_action": {"thread_id": thread_id, "item_id": item_id, "action": action},
        "threads.sync_custom_action": {"thread_id": thread_id, "action": action},
        "items.list": {"thread_id": thread_id},
        "items.feedback": {"thread_id": thread_id, "item_ids": [item_id], "kind": "positive"},
        "attachments.create": {"name": "a.txt", "size": 1, "mime_type": "text/plain"},
        "attachments.delete": {"attachment_id": attachment_id},
        "input.transcribe": {"audio_base64": "AAAA", "mime_type": "audio/webm"},
    }
    return {kind: request(kind, **params) for kind, params in about.items()}


def a_thread_of(person: Person) -> tuple[str, str]:
    """A new thread of the person and the id of their message in it."""
    thread_id = person.new_thread()
    first = next(item for item in person.items(thread_id) if item["type"] == "user_message")
    return thread_id, first["id"]
