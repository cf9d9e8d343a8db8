"""Dictation, images and attachments: off at first, and what each does once it is on."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from agents.testing import assistant_message
from fastapi import FastAPI, Request
from openai import AsyncOpenAI

from app.desk import media
from app.server import Server

from ..agent.test_agent import texts
from ..chat import Json, Person, thread_id_of, user_input
from ..fixtures import RunningServer, serve
from .desk import script

SPEECH: Json = {"audio_base64": base64.b64encode(b"RIFF").decode(), "mime_type": "audio/webm;x=y"}
FILE: Json = {"name": "a.pdf", "size": 3, "mime_type": "application/pdf"}


@contextmanager
def switched_on(part: type[Any]) -> Iterator[RunningServer]:
    """A server with one of the parts of media.py."""
    with serve(type("Server", (part, Server), {})) as server:
        yield server


@pytest.mark.parametrize(
    ("kind", "params"), [("input.transcribe", SPEECH), ("attachments.create", FILE)]
)
def test_what_is_off_is_not_supported(person: Person, kind: str, params: Json) -> None:
    answer = person.post(kind, **params)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "not_supported")


def test_nothing_draws_until_it_is_on(server: RunningServer, person: Person) -> None:
    model = script(server, [assistant_message("No.")])
    person.say("Draw a globe")
    assert "image_generation" not in [tool.name for tool in model.calls[0].tools]
    with switched_on(media.Images) as other:
        model = script(other, [assistant_message("No.")])
        other.person().say("Draw a globe")
    assert "image_generation" in [tool.name for tool in model.calls[0].tools]


def test_speech_becomes_text_by_the_models_provider() -> None:
    heard: list[Any] = []
    provider = FastAPI()

    @provider.post("/v1/audio/transcriptions")
    async def transcriptions(request: Request) -> Json:
        async with request.form() as form:
            file: Any = form["file"]
            heard.append((form["model"], file.filename, await file.read()))
        return {"text": "Where is my parcel?"}

    behind = RunningServer(provider)
    behind.start()
    with switched_on(media.Dictation) as server:
        talker = server.app.state.server
        talker.model._client = AsyncOpenAI(api_key="k", base_url=f"{behind.url}/v1")
        answer = server.person().ask("input.transcribe", **SPEECH)
        del talker.model._client  # a model behind another interface
        refused = server.person().post("input.transcribe", **SPEECH)
    behind.stop(0)
    assert answer == {"text": "Where is my parcel?"}
    assert heard == [(media.TRANSCRIBER, "speech.webm", b"RIFF")]
    assert refused.json()["error"]["code"] == "not_supported"


def test_an_attachments_record_lives_with_its_owner() -> None:
    with switched_on(media.Attachments) as server:
        person, stranger = server.person(), server.person()
        made = person.ask("attachments.create", **FILE)
        assert made["upload_descriptor"]["url"].startswith(media.UPLOADS)
        given = user_input() | {"attachments": [made["id"]]}
        assert stranger.post("threads.create", input=given).status_code == 404
        model = script(server, [assistant_message("Read.")])
        thread_id = thread_id_of(person.stream("threads.create", input=given))
        assert person.items(thread_id)[0]["attachments"][0]["name"] == "a.pdf"
        assert "[attachment: a.pdf]" in texts(model.calls[0])
        gone = {"attachment_id": made["id"]}
        assert stranger.post("attachments.delete", **gone).status_code == 404
        person.ask("attachments.delete", **gone)
        assert person.post("attachments.delete", **gone).status_code == 404


def test_speech_that_is_not_written_as_base64_is_refused() -> None:
    with switched_on(media.Dictation) as server:
        answer = server.person().post("input.transcribe", **SPEECH | {"audio_base64": "AAA"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")
