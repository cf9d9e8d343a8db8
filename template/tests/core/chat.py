"""A ChatKit client for tests: requests as the browser sends them, over a real socket."""

import json
from collections.abc import Iterator
from typing import Any

import httpx

Json = dict[str, Any]


def user_input(text: str = "Hello", **more: Any) -> Json:
    content = [{"type": "input_text", "text": text}]
    return {"content": content, "attachments": [], "inference_options": {}} | more


def request(kind: str, /, **params: Any) -> Json:
    return {"type": kind, "params": params}


def events_of(response: httpx.Response) -> Iterator[Json]:
    """The events of a stream as they arrive; comments are left out."""
    for line in response.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


class Person:
    """Someone with a browser: keeps cookies, sends ChatKit requests."""

    def __init__(self, url: str, **headers: str) -> None:
        self.http = httpx.Client(base_url=url, headers=headers, timeout=20, trust_env=False)

    def post(self, kind: str, /, **params: Any) -> httpx.Response:
        return self.http.post("/chatkit", json=request(kind, **params))

    def ask(self, kind: str, /, **params: Any) -> Json:
        """A request that is answered with JSON."""
        response = self.post(kind, **params)
        assert response.status_code == 200, response.text
        answer: Json = response.json()
        return answer

    def stream(self, kind: str, /, **params: Any) -> list[Json]:
        """A request that is answered with events, all of them."""
        response = self.post(kind, **params)
        assert response.status_code == 200, response.text
        assert response.headers["content-type"].startswith("text/event-stream")
        return list(events_of(response))

    def say(self, text: str, thread_id: str | None = None, **more: Any) -> list[Json]:
        """A message in a new thread, or in the thread that is named."""
        if thread_id is None:
            return self.stream("threads.create", input=user_input(text, **more))
        return self.stream(
            "threads.add_user_message", thread_id=thread_id, input=user_input(text, **more)
        )

    def new_thread(self, text: str = "Hello") -> str:
        return thread_id_of(self.say(text))

    def items(self, thread_id: str, order: str = "asc") -> list[Json]:
        page = self.ask("items.list", thread_id=thread_id, order=order, limit=100)
        items: list[Json] = page["data"]
        return items


def thread_id_of(events: list[Json]) -> str:
    return str(events[0]["thread"]["id"])


def text_of(events: list[Json]) -> str:
    """What the assistant said in these events, as they say it at the end."""
    done = [event["item"] for event in events if event["type"] == "thread.item.done"]
    said = [item for item in done if item["type"] == "assistant_message"]
    return " ".join(part["text"] for item in said for part in item["content"])
