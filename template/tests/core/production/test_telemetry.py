"""A turn as a trace, and what is counted of it, as an OTLP collector gets them."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from agents.tracing.processors import BackendSpanExporter, default_processor
from fastapi import FastAPI, Request
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from starlette.responses import Response

from app.core.settings import load_settings

from ..agent.provider import DICE, provider
from ..agent.test_model import NAME, credentials
from ..chat import events_of, request, text_of, user_input
from ..fixtures import RunningServer, serve, wait_until

TEXT = "roll dice for Ada Lovelace"


class Collector:
    """What was sent to it, over HTTP as protobuf."""

    def __init__(self) -> None:
        self.bodies: dict[str, list[bytes]] = {"traces": [], "metrics": []}
        self.headers: dict[str, str] = {}
        self.app = FastAPI()

        @self.app.post("/v1/{signal}")
        async def take(signal: str, request: Request) -> Response:
            self.bodies[signal].append(await request.body())
            self.headers = dict(request.headers)
            return Response(media_type="application/x-protobuf")

    @property
    def spans(self) -> list[Any]:
        requests = map(ExportTraceServiceRequest.FromString, self.bodies["traces"])
        scopes = [s for r in requests for one in r.resource_spans for s in one.scope_spans]
        return [span for scope in scopes for span in scope.spans]

    def points(self, name: str) -> list[tuple[Any, dict[str, Any]]]:
        """A metric's last values or counts, with what they are of."""
        last = ExportMetricsServiceRequest.FromString(self.bodies["metrics"][-1])
        scopes = [s for one in last.resource_metrics for s in one.scope_metrics]
        [metric] = [m for scope in scopes for m in scope.metrics if m.name == name]
        points = [*metric.sum.data_points, *metric.histogram.data_points]
        return [(getattr(p, "as_int", 0) or getattr(p, "count", 0), attributes(p)) for p in points]

    def histogram(self, name: str) -> list[Any]:
        last = ExportMetricsServiceRequest.FromString(self.bodies["metrics"][-1])
        scopes = [s for one in last.resource_metrics for s in one.scope_metrics]
        return [
            point
            for scope in scopes
            for metric in scope.metrics
            if metric.name == name
            for point in metric.histogram.data_points
        ]

    @property
    def everything(self) -> str:
        return str(self.bodies)


def attributes(one: Any) -> dict[str, Any]:
    """The attributes of a span or a point."""
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in one.attributes}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    found = Collector()
    server = RunningServer(found.app)
    server.start()
    found.app.state.url = server.url
    yield found
    server.stop()


@pytest.fixture(scope="module")
def model() -> Iterator[RunningServer]:
    server = RunningServer(provider())
    server.start()
    yield server
    server._uvicorn.force_exit = True
    server.stop()


@contextmanager
def traced(collector: Collector, model: RunningServer, **values: Any) -> Iterator[RunningServer]:
    """A server whose telemetry has been sent once the block ends."""
    for bodies in collector.bodies.values():
        bodies.clear()
    values = {"otel_exporter_otlp_endpoint": collector.app.state.url} | values
    with (
        pytest.MonkeyPatch.context() as patch,
        serve(**credentials(model.url), model=NAME, **values) as server,
    ):
        patch.setattr("app.server.Server.titles", None)
        patch.setattr("app.server.assistant", DICE)
        yield server
        server.stop()


def test_a_turn_is_one_trace_with_the_models_the_tools_and_the_stores_spans(
    collector: Collector, model: RunningServer
) -> None:
    headers = "api-key=sesame%20open, authorization=Bearer me"
    with traced(collector, model, otel_exporter_otlp_headers=headers) as server:
        person = server.person()
        thread_id = person.new_thread(TEXT)
        person.items(thread_id)

    spans = collector.spans
    assert len({span.trace_id for span in spans}) == 1
    [root] = [span for span in spans if not span.parent_span_id]
    assert {span.parent_span_id for span in spans} <= {span.span_id for span in spans} | {b""}
    assert root.name == "chatkit.turn"
    about = attributes(root)
    assert (about["operation"], about["ended"]) == ("threads.create", "done")
    assert about["session.id"] == thread_id
    assert 0 < about["first_event_seconds"] < about["seconds"]

    kinds = [attributes(span).get("openinference.span.kind") for span in spans]
    assert kinds.count("LLM") == 2  # the call and what the model says after it
    assert [
        span.name for span in spans if attributes(span).get("openinference.span.kind") == "TOOL"
    ]
    names = [span.name for span in spans]
    assert {"store.save_thread", "store.add_thread_item"} <= {*names}
    assert all(span.end_time_unix_nano > span.start_time_unix_nano for span in spans)
    assert collector.headers["api-key"] == "sesame open"
    assert collector.headers["authorization"] == "Bearer me"


@pytest.mark.parametrize("headers", ["sesame", "api-key: sesame", "a=b;sesame", "a=sesame,b", "=é"])
def test_headers_that_cannot_be_read_stop_the_start_and_are_told_to_nobody(
    monkeypatch: pytest.MonkeyPatch, headers: str
) -> None:
    """OpenTelemetry's own libraries would leave them out, and write them to the log."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", headers)
    with pytest.raises(SystemExit, match="OTLP_HEADERS does not fit: write name=value") as refused:
        load_settings()
    assert "sesame" not in str(refused.value)


def test_nothing_that_is_said_is_sent_unless_it_is_asked_for(
    collector: Collector, model: RunningServer
) -> None:
    with traced(collector, model) as server:
        events = server.person().say(TEXT)
        server.person().say("status 401")
    said = text_of(events)
    assert said.startswith("It rolled ")
    for secret in ("Lovelace", said, "It rolled", "sk-secret", "sk-test"):
        assert secret not in collector.everything

    capture = {"otel_instrumentation_genai_capture_message_content": True}
    with traced(collector, model, **capture) as server:
        server.person().say(TEXT)
    assert "Lovelace" in collector.everything


def test_turns_streams_tokens_and_errors_are_counted(
    collector: Collector, model: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.core.agent.retries.FIRST_DELAY", 0.02)
    with traced(collector, model, daily_turns=2) as server:
        person = server.person()
        for text in (TEXT, "status 401", "One too many"):
            person.say(text)

    turns = {about["ended"]: count for count, about in collector.points("chatkit.turns")}
    assert turns == {"done": 1, "failed": 1, "refused": 1}
    assert collector.points("chatkit.streams.running") == [(0, {})]
    assert sum(count for count, _ in collector.points("chatkit.turn.first_event")) == 3
    for name in ("chatkit.turn.first_event", "chatkit.turn.duration"):  # in seconds
        for point in collector.histogram(name):
            assert [sum(b < n for b in point.explicit_bounds) for n in (0.3, 3, 60)] == [3, 6, 9]
    [(errors, about)] = collector.points("chatkit.errors")
    assert (errors, about) == (1, {"error.type": "AuthenticationError"})
    tokens = {of["gen_ai.token.type"]: count for count, of in collector.points("chatkit.tokens")}
    assert tokens["input"] == 14  # two model calls, of 7 each
    told = [attributes(span).get("gen_ai.usage.input_tokens") for span in collector.spans]
    assert [count for count in told if count] == [7, 7]
    assert tokens["output"] > 0
    [failed] = [span for span in collector.spans if attributes(span).get("ended") == "failed"]
    assert attributes(failed)["error.type"] == "AuthenticationError"


def test_what_a_client_asks_in_vain_is_no_failure_and_no_first_event(
    collector: Collector, model: RunningServer
) -> None:
    with traced(collector, model) as server:
        person = server.person()
        person.say("Hello")
        gone = {"thread_id": "thr_" + "0" * 32, "input": user_input()}
        assert person.post("threads.add_user_message", **gone).status_code == 404
    turns = {about["ended"]: count for count, about in collector.points("chatkit.turns")}
    assert turns == {"done": 1, "refused": 1}
    assert sum(count for count, _ in collector.points("chatkit.turn.first_event")) == 1
    assert b"chatkit.errors" not in collector.bodies["metrics"][-1]
    assert not [span for span in collector.spans if not span.parent_span_id and span.status.code]


def test_a_stop_ends_the_trace_as_stopped_and_leaves_no_error(
    collector: Collector, model: RunningServer, caplog: pytest.LogCaptureFixture
) -> None:
    with traced(collector, model) as server:
        person = server.person()
        sent = request("threads.create", input=user_input("endless"))
        with person.http.stream("POST", "/chatkit", json=sent) as response:
            next(event for event in events_of(response) if "updated" in event["type"])
        wait_until(lambda: not server.app.state.turns)
    [root] = [span for span in collector.spans if span.name == "chatkit.turn"]
    assert attributes(root)["ended"] == "stopped"
    [(running, _)] = collector.points("chatkit.streams.running")
    assert running == 0
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_nothing_goes_to_openai_that_did_not_before(
    collector: Collector, model: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []
    monkeypatch.setattr(BackendSpanExporter, "export", lambda self, items: sent.extend(items))
    openai: Any = default_processor()
    with traced(collector, model) as server:
        server.person().say(TEXT)
        openai.force_flush()
    assert collector.spans
    assert sent == []


def test_a_collector_that_is_not_there_is_in_nobodys_way(
    collector: Collector, model: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.core.production.ops.otel.SEND_LIMIT", 0.3)
    endpoint = {"otel_exporter_otlp_endpoint": "http://127.0.0.1:9"}
    with traced(collector, model, **endpoint) as server:
        assert text_of(server.person().say("Hello")).startswith("You said Hello")
