"""The servers that the benchmarks compare: `python servers.py product|bare|mended FD`.

Run in a rendered project. Each answers with the project's agent and a scripted model, behind
uvicorn with one worker; FD is the socket to listen on. The bare SDK has the memory store.
"""

import asyncio
import os
import re
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import agents.testing
import uvicorn
from agents import Model, ModelResponse, RunConfig, Runner
from agents.items import TResponseStreamEvent
from chatkit.agents import AgentContext, simple_to_agent_input, stream_agent_response
from chatkit.server import ChatKitServer, NonStreamingResult, StreamingResult
from chatkit.types import (
    ChatKitReq,
    ThreadMetadata,
    ThreadStreamEvent,
    UserMessageItem,
    is_streaming_req,
)
from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import TypeAdapter

from app.agent import assistant
from app.core.context import RequestContext

HISTORY = 20  # items the model is given: what the project's settings say by default


class ScriptedModel(Model):
    """Says as many words as the last message asks for: "say 300 words, 0 ms apart".

    Where the message goes on with ", roll dice" it calls that tool first.
    """

    async def get_response(self, *args: Any, **rest: Any) -> ModelResponse:
        title = agents.testing.ScriptedModel([[agents.testing.assistant_message("A title")]])
        return await title.get_response(*args, **rest)

    async def stream_response(self, *args: Any, **rest: Any) -> AsyncIterator[TResponseStreamEvent]:
        instructions, items, *others = args
        asked = next(item for item in reversed(items) if item.get("role") == "user")
        text = asked["content"][0]["text"]
        words, pause = map(int, re.findall(r"\d+", text))
        said: Any = agents.testing.assistant_message("word " * words, item_id=f"msg_{uuid4().hex}")
        if "roll dice" in text and items[-1] is asked:
            call = {"call_id": f"call_{uuid4().hex}", "item_id": f"fc_{uuid4().hex}"}
            said = agents.testing.function_call("roll_dice", {"count": 2}, **call)
        script = agents.testing.ScriptedModel([[said]])
        async for event in script.stream_response(instructions, "", *others, **rest):
            if event.type != "response.output_text.delta":
                yield event
                continue
            word = event.model_copy(update={"delta": "word "})
            for _ in range(words):
                if pause:
                    await asyncio.sleep(pause / 1000)
                yield word


def product() -> FastAPI:
    """The rendered project's application; only its model is another one."""
    from app.core.application import create_app
    from app.core.settings import Settings
    from app.server import Server
    from tests.core.auth_styles import SETTINGS, newcomer
    from tests.core.stores import fresh

    settings: Any = Settings
    app = create_app(Server, settings=settings(_env_file=None, **SETTINGS, **fresh()))
    people.append(newcomer())
    opened = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Any]:
        async with opened(app) as state:
            if app.state.settings.history_items != HISTORY:
                raise SystemExit(f"the project's history_items is not {HISTORY}")
            app.state.server.model = ScriptedModel()
            yield state

    app.router.lifespan_context = lifespan
    return app


class BareServer(ChatKitServer[RequestContext]):
    """`respond` as the SDK's guide writes it."""

    async def respond(
        self,
        thread: ThreadMetadata,
        input_user_message: UserMessageItem | None,
        context: RequestContext,
    ) -> AsyncIterator[ThreadStreamEvent]:
        page = await self.store.load_thread_items(
            thread.id, after=None, limit=HISTORY, order="desc", context=context
        )
        history = await simple_to_agent_input(page.data[::-1])
        agent_context = AgentContext(thread=thread, store=self.store, request_context=context)
        result = Runner.run_streamed(
            assistant,
            history,
            context=agent_context,
            run_config=RunConfig(model=ScriptedModel(), tracing_disabled=True),
        )
        async for event in stream_agent_response(agent_context, result):
            yield event


class MendedServer(BareServer):
    """`process` as the SDK has it, but with a validator that is not built anew in each request."""

    validator: TypeAdapter[ChatKitReq] = TypeAdapter(ChatKitReq)

    async def process(
        self, request: str | bytes | bytearray, context: RequestContext
    ) -> StreamingResult | NonStreamingResult:
        parsed = self.validator.validate_json(request)
        if is_streaming_req(parsed):
            return StreamingResult(self._process_streaming(parsed, context))
        return NonStreamingResult(await self._process_non_streaming(parsed, context))


def bare(kind: type[BareServer] = BareServer) -> FastAPI:
    """The endpoint as the SDK's guide writes it, for one person."""
    from app.core.store.memory import MemoryStore

    app, server = FastAPI(), kind(MemoryStore())

    @app.post("/chatkit")
    async def chatkit(request: Request) -> Response:
        result = await server.process(await request.body(), RequestContext(user_id="somebody"))
        if isinstance(result, StreamingResult):
            return StreamingResponse(result, media_type="text/event-stream")
        return Response(content=result.json, media_type="application/json")

    return app


def mended() -> FastAPI:
    return bare(MendedServer)


people: list[dict[str, str]] = [{}]


async def somebody() -> dict[str, str]:
    """The headers by which this server knows somebody."""
    return people[-1]


async def cpu() -> float:
    """The processor seconds that this process has used."""
    return time.process_time()


def memory() -> int:
    """The bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    app = {"product": product, "bare": bare, "mended": mended}[sys.argv[1]]()
    app.add_api_route("/cpu", cpu)  # the last route that is looked at: it costs the others nothing
    app.add_api_route("/newcomer", somebody)
    app.add_api_route("/memory", memory)
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
        backlog=2048,
        timeout_keep_alive=600,  # connections rest while the other server is asked
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(sys.argv[2]))])


if __name__ == "__main__":
    main()
