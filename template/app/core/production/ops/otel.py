"""A turn as a trace, and what is counted of it: the part that imports OpenTelemetry.

The agent's spans (runs, model calls, tools, hand-offs) come from OpenInference's instrumentation.
HTTP has none: one for ASGI makes a span of every event that is sent.
"""

from asyncio import CancelledError
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import wraps
from time import perf_counter
from typing import Any, TypeVar

from agents import set_trace_processors
from agents.tracing import Span, SpanError, Trace, TracingProcessor, add_trace_processor
from chatkit.store import NotFoundError
from openinference.instrumentation import TraceConfig
from openinference.instrumentation.openai_agents import OpenAIAgentsInstrumentor
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import StatusCode, get_current_span
from opentelemetry.util.re import parse_env_headers

from ...log_context import log_context
from ...store.base import BaseStore
from .telemetry import TelemetrySettings

T = TypeVar("T")
SEND_LIMIT = 5.0  # seconds, retries included
BOUNDS = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600)  # seconds; OTel's are for ms
BARE: Any = {"record_exception": False, "set_status_on_exception": False}  # they quote its words


class Telemetry:
    """The providers and instruments of one application; `keep` leaves OpenAI's own exporter on."""

    def __init__(self, settings: TelemetrySettings, keep: bool) -> None:
        base = (settings.otel_exporter_otlp_endpoint or "").rstrip("/")
        given = settings.otel_exporter_otlp_headers
        headers = parse_env_headers(given.get_secret_value(), liberal=True) if given else None
        to: Any = {"headers": headers, "timeout": SEND_LIMIT}
        resource = Resource.create({"service.name": settings.otel_service_name})
        spans = OTLPSpanExporter(f"{base}/v1/traces", **to)
        self.traces = TracerProvider(resource=resource, shutdown_on_exit=False)
        self.traces.add_span_processor(BatchSpanProcessor(spans))
        reader = PeriodicExportingMetricReader(OTLPMetricExporter(f"{base}/v1/metrics", **to))
        self.metrics = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
        self.tracer, meter = self.traces.get_tracer(__name__), self.metrics.get_meter(__name__)
        self.turns = meter.create_counter("chatkit.turns")
        self.running = meter.create_up_down_counter("chatkit.streams.running")
        bounds: Any = {"explicit_bucket_boundaries_advisory": BOUNDS}
        self.first = meter.create_histogram("chatkit.turn.first_event", "s", **bounds)
        self.lasted = meter.create_histogram("chatkit.turn.duration", "s", **bounds)
        self.tokens = meter.create_counter("chatkit.tokens", "{token}")
        self.errors = meter.create_counter("chatkit.errors")

        self.captures_content = settings.otel_instrumentation_genai_capture_message_content
        hidden = not self.captures_content
        config = TraceConfig(hide_inputs=hidden, hide_outputs=hidden)
        (add_trace_processor if keep else _alone)(AgentSpans(self))
        self.agents = OpenAIAgentsInstrumentor()
        self.agents.instrument(
            tracer_provider=self.traces, config=config, exclusive_processor=False
        )

    async def turn(self, events: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        """A turn's events, in a span that ends with them."""
        began, first, ended = perf_counter(), 0.0, "done"
        self.running.add(1)
        with self.tracer.start_as_current_span("chatkit.turn", **BARE) as span:
            try:
                async for event in events:
                    first = first or perf_counter() - began
                    yield event
            except (CancelledError, GeneratorExit):
                ended = "stopped"
                raise
            except NotFoundError:  # 404, before the first event
                ended = "refused"
                raise
            except Exception as error:
                ended = "failed"
                self.failed(error)
                raise
            finally:
                known = {"ended": ended} | log_context()
                about = {"operation": known.get("operation", ""), "ended": known["ended"]}
                seconds = {"seconds": perf_counter() - began, "first_event_seconds": first}
                whose = {"session.id": known.get("thread_id", "")}
                whose |= {"request_id": known.get("request_id", "")}
                span.set_attributes(about | seconds | whose)
                self.running.add(-1)
                self.turns.add(1, about)
                if first:
                    self.first.record(first)
                self.lasted.record(seconds["seconds"], about)

    async def watch(self, events: AsyncIterator[T]) -> AsyncIterator[T]:
        """The same events. What ends them is counted before it becomes words for a person."""
        try:
            async for event in events:
                yield event
        except Exception as error:
            self.failed(error)
            raise

    def failed(self, error: Exception) -> None:
        """By its kind alone: an error's words may quote a person or a key."""
        kind = type(error).__qualname__
        self.errors.add(1, {"error.type": kind})
        get_current_span().set_attribute("error.type", kind)
        get_current_span().set_status(StatusCode.ERROR)

    def trace_store(self, store: BaseStore) -> None:
        """Make each call that a turn makes of the store a span, whichever store it is."""
        for name in BaseStore.__abstractmethods__:
            setattr(store, name, self._traced(name, getattr(store, name)))

    def _traced(self, name: str, call: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
        @wraps(call)
        async def traced(*args: Any, **named: Any) -> T:
            if not get_current_span().is_recording():
                return await call(*args, **named)
            with self.tracer.start_as_current_span(f"store.{name}", **BARE) as span:
                try:
                    return await call(*args, **named)
                except Exception as error:
                    span.set_attribute("error.type", type(error).__qualname__)
                    span.set_status(StatusCode.ERROR)
                    raise

        return traced

    def close(self) -> None:
        """Send what is left. It blocks, for about SEND_LIMIT where nobody takes it."""
        self.agents.uninstrument()
        self.traces.shutdown()
        with suppress(Exception):  # it raises what kept it from sending
            self.metrics.shutdown(SEND_LIMIT * 1000)


def _alone(processor: TracingProcessor) -> None:
    set_trace_processors([processor])


class AgentSpans(TracingProcessor):
    """Goes before OpenInference's: adds the tokens, which it finds only beside the texts."""

    def __init__(self, telemetry: Telemetry) -> None:
        self.telemetry = telemetry

    def on_span_end(self, span: Span[Any]) -> None:
        data = span.span_data
        usage = getattr(data, "usage", None) or {}
        for kind in ("input", "output") if data.type in ("response", "generation") else ():
            if count := usage.get(f"{kind}_tokens"):
                get_current_span().set_attribute(f"gen_ai.usage.{kind}_tokens", count)
                self.telemetry.tokens.add(count, {"gen_ai.token.type": kind})
        if span.error and not self.telemetry.captures_content:
            span.set_error(SpanError(message=f"{data.type} failed", data=None))

    def on_span_start(self, span: Span[Any]) -> None: ...
    def on_trace_start(self, trace: Trace) -> None: ...
    def on_trace_end(self, trace: Trace) -> None: ...
    def shutdown(self) -> None: ...
    def force_flush(self) -> None: ...
