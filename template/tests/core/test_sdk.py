"""What the guides say of ChatKit's SDK, where no other test holds it."""

import asyncio
import inspect
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from agents import function_tool
from agents.tool_context import ToolContext
from chatkit import types as ck
from chatkit.server import ChatKitServer, NonStreamingResult, StreamingResult
from pydantic import ValidationError

from app.core.context import RequestContext
from app.core.store import open_store

from .chat import Person, request, thread_id_of, user_input
from .fixtures import RunningServer, settings

ME = RequestContext(user_id="me")
LIST = request("threads.list")


class Plain(ChatKitServer[RequestContext]):
    """The SDK alone, without what this project puts around it."""

    async def respond(
        self, thread: ck.ThreadMetadata, message: ck.UserMessageItem | None, context: RequestContext
    ) -> AsyncIterator[ck.ThreadStreamEvent]:
        yield ck.NoticeEvent(level="info", message="Hello")


def process(*bodies: Any) -> list[Any]:
    """What the SDK's `process` gives for each; a stream is read to its end."""

    async def run() -> list[Any]:
        async with open_store(settings()) as store:
            server, results = Plain(store), list[Any]()
            for body in bodies:
                results.append(await server.process(body, ME))
                if isinstance(results[-1], StreamingResult):
                    _ = [part async for part in results[-1]]
        return results

    return asyncio.run(run())


def test_process_reads_the_json_itself() -> None:
    process(json.dumps(LIST), json.dumps(LIST).encode())
    with pytest.raises(ValidationError, match="JSON input should be"):
        process(LIST)


def test_a_result_is_json_already_and_a_stream_has_none() -> None:
    create = request("threads.create", input=user_input())
    listed, streamed = process(json.dumps(LIST), json.dumps(create))
    assert isinstance(listed, NonStreamingResult)
    assert json.loads(listed.json)["data"] == []
    assert isinstance(streamed, StreamingResult)
    assert not hasattr(streamed, "json")


def test_a_threads_metadata_stays_on_the_server(server: RunningServer, person: Person) -> None:
    thread_id, context = thread_id_of(person.say("Hello")), server.context_of(person)
    thread = server.run(server.store.load_thread(thread_id, context))
    thread.metadata["note"] = "for us alone"
    server.run(server.store.save_thread(thread, context))
    kept = server.run(server.store.load_thread(thread_id, context))
    assert kept.metadata["note"] == "for us alone"
    told = [
        person.ask("threads.get_by_id", thread_id=thread_id),
        person.ask("threads.list"),
        person.ask("threads.update", thread_id=thread_id, title="Doors"),
        person.say("Again", thread_id),
    ]
    assert "for us alone" not in json.dumps(told)


def test_the_store_is_called_by_its_parameters_names(
    server: RunningServer, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[tuple[str, str]] = set()

    class Watched:
        def __init__(self, beneath: Any) -> None:
            self.beneath = beneath

        def __getattr__(self, name: str) -> Any:
            found = getattr(self.beneath, name)
            if not inspect.iscoroutinefunction(found):
                return found

            def called(*values: Any, **named: Any) -> Any:
                seen.update((name, parameter) for parameter in named)
                return found(*values, **named)

            return called

    monkeypatch.setattr(server.app.state.server, "store", Watched(server.store))
    thread_id = thread_id_of(person.say("Hello"))
    person.items(thread_id)
    person.ask("threads.list")
    expected = {("load_threads", name) for name in ("limit", "after", "order", "context")}
    expected |= {(name, "context") for name in ("load_thread", "add_thread_item")}
    assert expected <= seen


def test_a_tool_that_exits_is_no_failed_tool_for_the_sdk() -> None:
    """As soon as this fails, `app/core/agent/contained_tools.py` can go."""

    @function_tool
    async def leave() -> str:
        raise SystemExit

    context: Any = ToolContext(None, tool_name="leave", tool_call_id="1", tool_arguments="{}")
    call: Any = leave.on_invoke_tool(context, "{}")
    with pytest.raises(SystemExit):
        call.send(None)
