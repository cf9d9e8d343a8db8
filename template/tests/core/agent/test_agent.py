"""The agent: what the model is told, what its tools give, and what a person gets of it."""

import asyncio
import gc
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
from agents import Agent, AgentToolStreamEvent, ModelSettings, Runner, StopAtTools, function_tool
from agents.models.chatcmpl_converter import Converter
from agents.retry import ModelRetryAdvice
from agents.testing import ModelStep, ScriptedModel, assistant_message, function_call
from agents.tracing import TracingProcessor, add_trace_processor
from chatkit import types as ck
from chatkit.agents import ClientToolCall
from openai.types.responses import ResponseReasoningItem, ResponseTextDeltaEvent
from openai.types.responses.response_input_param import ResponseInputParam
from openai.types.responses.response_reasoning_item import Summary
from pydantic import TypeAdapter

from app.core.agent.run import RENAMED, Context, RunSettings, ToolContext
from app.core.http.streaming import ResponseTask
from app.server import Server

from ..chat import Json, Person, events_of, request, text_of, thread_id_of, user_input
from ..fixtures import RunningServer, serve, wait_until
from .test_text_coalescing import pieces

CALLS: list[tuple[str, str]] = []


@function_tool
def weather(ctx: ToolContext, city: str) -> str:
    """The weather in a city."""
    CALLS.append((city, ctx.context.request_context.user_id))
    return f"sunny in {city}, code {len(CALLS):04}"


AGENT = Agent[Context](name="Test", instructions="Be brief.", tools=[weather])


@pytest.fixture
def scripted(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., ScriptedModel]]:
    """Put a scripted model, and the agent of these tests, in the server's place."""
    monkeypatch.setattr("app.server.assistant", AGENT)
    talker = server.app.state.server
    monkeypatch.setattr(RunSettings, "is_offline", False)
    monkeypatch.setattr(talker, "titles", None, raising=False)  # they would ask the model too
    real = talker.model

    def script(*steps: Any) -> ScriptedModel:
        talker.model = ScriptedModel(steps)
        model: ScriptedModel = talker.model
        return model

    yield script
    talker.model = real


def texts(call: Any) -> list[str]:
    """The texts that a model call was given, in order."""
    found = []
    for item in call.input:
        content = item.get("content", item.get("output", ""))
        parts = content if isinstance(content, list) else [{"text": content}]
        found += [part["text"] for part in parts]
    return found


def test_text_is_streamed_and_stored_under_an_id_of_ours(
    person: Person, scripted: Callable[..., ScriptedModel]
) -> None:
    scripted([assistant_message("First.")], [assistant_message("Second.")])
    events = person.say("One")
    again = person.say("Two", thread_id_of(events))

    assert (text_of(events), text_of(again)) == ("First.", "Second.")
    ids = [item["id"] for item in person.items(thread_id_of(events))]
    assert len(set(ids)) == 4
    assert all(item_id.startswith("msg_") and len(item_id) == 36 for item_id in ids)


def test_the_parts_of_a_message_share_its_id(
    person: Person, scripted: Callable[..., ScriptedModel]
) -> None:
    """Chat Completions call every message `__fake_id__`, also two in one turn."""
    call = function_call("weather", {"city": "Oslo"}, call_id="1")
    scripted(
        [assistant_message("Let me look.", item_id="__fake_id__"), call],
        [assistant_message("Sunny.", item_id="__fake_id__")],
    )
    events = person.say("Weather?")

    added = [e["item"]["id"] for e in events if e["type"] == "thread.item.added"]
    updated = [e["item_id"] for e in events if e["type"] == "thread.item.updated"]
    stored = person.items(thread_id_of(events))
    assert added == list(dict.fromkeys(updated)) == [item["id"] for item in stored[1:]]
    assert len(set(added)) == 2
    assert [item["content"][0]["text"] for item in stored[1:]] == ["Let me look.", "Sunny."]


def test_what_a_tool_returned_is_known_in_later_turns_and_hidden_from_people(
    person: Person, scripted: Callable[..., ScriptedModel]
) -> None:
    model = scripted(
        [function_call("weather", {"city": "Oslo"}, call_id="c1", item_id="fc_1")],
        [assistant_message("It is sunny.")],
        [assistant_message("As I said.")],
    )
    events = person.say("Weather in Oslo?")
    person.say("Which code?", thread_id_of(events))

    last = model.calls[-1]
    assert [item.get("type") for item in last.input] == [
        "message",
        "function_call",
        "function_call_output",
        "message",
        "message",
    ]
    assert any("code 00" in text for text in texts(last))
    assert "id" not in last.input[1]
    assert [item["type"] for item in person.items(thread_id_of(events))] == [
        "user_message",
        "assistant_message",
        "user_message",
        "assistant_message",
    ]
    assert "code 00" not in json.dumps(events)


@function_tool
def open_map(ctx: ToolContext) -> str:
    """Open the map in the browser."""
    ctx.context.client_tool_call = ClientToolCall(name="open_map", arguments={})
    return "opening"


STOP: StopAtTools = {"stop_at_tool_names": ["open_map"]}
MAPS = Agent[Context](name="Test", tools=[weather, open_map], tool_use_behavior=STOP)


def test_a_client_tool_leaves_the_results_of_the_others_and_ids_of_ours(
    person: Person, scripted: Callable[..., ScriptedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.server.assistant", MAPS)
    steps: list[Any] = []
    for number in range(2):
        oslo = function_call(
            "weather", {"city": "Oslo"}, call_id=f"a{number}", item_id="__fake_id__"
        )
        shown = function_call("open_map", {}, call_id=f"b{number}", item_id="__fake_id__")
        steps += [[oslo, shown], [assistant_message("Here it is.")]]
    model = scripted(*steps)

    thread_id = thread_id_of(person.say("Weather and map?"))
    person.stream("threads.add_client_tool_output", thread_id=thread_id, result={"ok": True})
    person.say("Again", thread_id)
    person.stream("threads.add_client_tool_output", thread_id=thread_id, result={"ok": True})

    items = person.items(thread_id)
    calls = [item for item in items if item["type"] == "client_tool_call"]
    assert [call["status"] for call in calls] == ["completed", "completed"]
    assert all(call["id"].startswith("tc_") and len(call["id"]) == 35 for call in calls)
    kinds = [(i["type"], i["call_id"]) for i in model.calls[-1].input if "call_id" in i]
    called = [call_id for kind, call_id in kinds if kind == "function_call"]
    assert called == [call_id for kind, call_id in kinds if kind == "function_call_output"]
    assert len(set(called)) == 4


def test_a_client_tool_leaves_the_results_of_those_called_after_it(
    person: Person, scripted: Callable[..., ScriptedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.server.assistant", MAPS)
    shown = function_call("open_map", {}, call_id="map")
    oslo = function_call("weather", {"city": "Oslo"}, call_id="oslo")
    model = scripted([shown, oslo], [assistant_message("Here it is.")])
    thread_id = thread_id_of(person.say("Map and weather?"))
    person.stream("threads.add_client_tool_output", thread_id=thread_id, result={"seen": True})
    given: Any = model.calls[-1].input
    names = {i["call_id"]: i["name"] for i in given if "name" in i}
    told = {names[i["call_id"]]: str(i["output"]) for i in given if "output" in i}
    assert "Oslo" in told.pop("weather")
    assert "seen" in told.pop("open_map")
    assert told == {}


def test_a_turn_that_the_browser_goes_on_with_keeps_the_picked_model_and_the_question(
    server: RunningServer, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The forced tool is not kept: it would be called for ever."""
    answering, shown = server.app.state.server, function_call("open_map", {}, call_id="map")
    many = [function_call("weather", {"city": "Oslo"}, call_id=str(n)) for n in range(25)]
    big = ScriptedModel([[*many, shown], [assistant_message("Here.")], [assistant_message("!")]])
    monkeypatch.setattr("app.server.assistant", MAPS)
    monkeypatch.setattr("app.core.agent.run.RunSettings.is_offline", False)
    monkeypatch.setattr("app.server.Server.titles", None, raising=False)
    monkeypatch.setattr("app.server.Server.selectable_models", ("big",))
    monkeypatch.setattr("app.server.Server.selectable_tools", ("open_map",))
    monkeypatch.setattr(answering, "model", ScriptedModel([[assistant_message("Default.")]]))
    monkeypatch.setattr(answering, "_named", {"big": big})
    picked = {"model": "big", "tool_choice": {"id": "open_map"}}
    thread_id = thread_id_of(person.say("Where is Oslo?", inference_options=picked))
    events = person.stream("threads.add_client_tool_output", thread_id=thread_id, result={})
    assert text_of(events) == "Here."
    assert [call.model_settings.tool_choice for call in big.calls] == ["open_map", None]
    assert texts(big.calls[-1])[0] == "Where is Oslo?"  # though 25 results are behind it

    monkeypatch.setattr("app.server.Server.selectable_models", ())
    again = [[shown], [assistant_message("By the default.")]]
    monkeypatch.setattr(answering, "model", ScriptedModel(again))
    person.say("And Rome?", thread_id)
    events = person.stream("threads.add_client_tool_output", thread_id=thread_id, result={})
    assert text_of(events) == "By the default."


def test_a_client_tool_that_was_never_answered_is_left_out_of_what_the_model_is_told(
    person: Person, scripted: Callable[..., ScriptedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.server.assistant", MAPS)
    model = scripted([function_call("open_map", {}, call_id="1")], [assistant_message("Fine.")])

    thread_id = thread_id_of(person.say("Map?"))
    assert text_of(person.say("Never mind", thread_id)) == "Fine."
    assert texts(model.calls[-1]) == ["Map?", "Never mind"]


def test_a_browser_answers_a_call_only_while_it_is_the_last_item(
    person: Person, scripted: Callable[..., ScriptedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.server.assistant", MAPS)
    scripted([function_call("open_map", {}, call_id="1")], [assistant_message("Fine.")])

    thread_id = thread_id_of(person.say("Map?"))
    person.say("Never mind", thread_id)
    late = person.post("threads.add_client_tool_output", thread_id=thread_id, result={})
    assert (late.status_code, late.json()["error"]["code"]) == (400, "invalid_request")


def test_no_message_is_given_where_nobody_wrote_one(
    server: RunningServer,
    person: Person,
    scripted: Callable[..., ScriptedModel],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.server.assistant", MAPS)
    scripted([function_call("open_map", {}, call_id="1")], [assistant_message("Seen.")])
    talker, written = server.app.state.server, list[bool]()
    respond = talker.respond

    def watched(thread: Any, message: Any, context: Any) -> Any:
        written.append(message is not None)
        return respond(thread, message, context)

    monkeypatch.setattr(talker, "respond", watched)
    thread_id = thread_id_of(person.say("Map?"))
    answer = person.stream("threads.add_client_tool_output", thread_id=thread_id, result={})
    assert text_of(answer) == "Seen."
    assert written == [True, False]


@pytest.mark.parametrize("joined", ["handoff", "tool", "streamed tool"])
def test_other_agents_work_as_they_stand(
    person: Person,
    scripted: Callable[..., ScriptedModel],
    monkeypatch: pytest.MonkeyPatch,
    joined: str,
) -> None:
    """The second one runs on the server's model, for who asks, and with its own tools."""
    CALLS.clear()
    clerk = Agent[Context](name="Clerk", instructions="You know the weather.", tools=[weather])
    heard: list[AgentToolStreamEvent] = []
    listen: Any = {"on_stream": heard.append} if joined == "streamed tool" else {}
    tool = clerk.as_tool("ask_clerk", "Asks the clerk.", **listen)
    agent = Agent[Context](
        name="Test",
        handoffs=[clerk] * (joined == "handoff"),
        tools=[tool] * (joined != "handoff"),
    )
    monkeypatch.setattr("app.server.assistant", agent)
    name = "transfer_to_clerk" if joined == "handoff" else "ask_clerk"
    given = {} if joined == "handoff" else {"input": "Oslo?"}
    steps: list[Any] = [
        [function_call(name, given, call_id="1")],
        [function_call("weather", {"city": "Oslo"}, call_id="2")],
        [assistant_message("Sunny, says the clerk.")],
    ]
    if joined != "handoff":
        steps.append([assistant_message("It is sunny.")])
    model = scripted(*steps)

    events = person.say("Weather?")
    said = "Sunny, says the clerk." if joined == "handoff" else "It is sunny."
    assert text_of(events) == "".join(pieces(events)) == said
    assert ("Sunny" in str(heard)) == (joined == "streamed tool")
    assert [city for city, _ in CALLS] == ["Oslo"]
    assert [call.system_instructions for call in model.calls[1:3]] == ["You know the weather."] * 2
    assert ("Sunny, says the clerk." in str(model.calls[-1].input)) == (joined != "handoff")


def test_who_takes_a_turn_over_has_to_begin_in_time_too(
    server: RunningServer,
    person: Person,
    scripted: Callable[..., ScriptedModel],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def silence(_: object) -> AsyncIterator[Any]:
        await asyncio.sleep(3600)
        yield

    agent = Agent[Context](name="Test", handoffs=[Agent[Context](name="Clerk")])
    monkeypatch.setattr("app.server.assistant", agent)
    monkeypatch.setattr(server.app.state.server.settings, "model_timeout", 0.3)
    person.http.timeout = 5  # seconds of silence
    scripted([function_call("transfer_to_clerk", {}, call_id="1")], ModelStep.stream(silence))
    assert "took too long" in person.say("Weather?")[-1]["message"]


def test_a_stop_while_a_tools_result_is_stored_does_not_lose_it(
    server: RunningServer,
    person: Person,
    scripted: Callable[..., ScriptedModel],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = server.app.state.server.store
    add, storing = store.add_thread_item, threading.Event()

    async def slow(thread_id: str, item: ck.ThreadItem, context: Any) -> None:
        if item.type == "hidden_context_item":
            storing.set()
            await asyncio.sleep(0.3)
        await add(thread_id, item, context)

    monkeypatch.setattr(store, "add_thread_item", slow)
    scripted([function_call("weather", {"city": "Oslo"}, call_id="1")], [assistant_message("ok")])
    body = request("threads.create", input=user_input())
    with person.http.stream("POST", "/chatkit", json=body) as response:
        events = events_of(response)
        thread_id = next(events)["thread"]["id"]
        assert storing.wait(5)
    wait_until(lambda: server.stored(person, thread_id)[-1].type == "sdk_hidden_context")
    kinds = [item.type for item in server.stored(person, thread_id)]
    assert kinds == ["user_message", "hidden_context_item", "sdk_hidden_context"]


def test_a_tool_acts_for_the_person_who_asks(
    person: Person, stranger: Person, scripted: Callable[..., ScriptedModel]
) -> None:
    call = function_call("weather", {"city": "Rome"}, call_id="1")
    scripted([call], [assistant_message("ok")], [call], [assistant_message("ok")])
    CALLS.clear()
    person.say("Weather?")
    stranger.say("Weather?")
    assert len({user_id for _, user_id in CALLS}) == 2


def test_the_model_gets_the_newest_items_in_order(
    person: Person, scripted: Callable[..., ScriptedModel]
) -> None:
    model = scripted(*([assistant_message(f"a{number}")] for number in range(15)))
    thread_id = person.new_thread("q0")
    for number in range(1, 15):
        person.say(f"q{number}", thread_id)

    said = [text for number in range(15) for text in (f"q{number}", f"a{number}")]
    assert texts(model.calls[-1]) == said[-21:-1]
    assert len(texts(model.calls[-1])) == 20


def test_no_call_is_cut_from_its_output(person: Person, scripted: Callable[..., Any]) -> None:
    steps = []
    for number in range(8):
        steps += [
            [function_call("weather", {"city": "Oslo"}, call_id=f"c{number}")],
            [assistant_message("ok")],
        ]
    model = scripted(*steps)
    thread_id = person.new_thread()
    for _ in range(7):
        person.say("again", thread_id)

    for call in model.calls:
        kinds = [item["type"] for item in call.input if item["type"].startswith("function")]
        assert kinds == ["function_call", "function_call_output"] * (len(kinds) // 2)


def test_every_turn_is_accepted_by_both_apis(
    person: Person, scripted: Callable[..., ScriptedModel]
) -> None:
    thought = Summary(text="Thinking of Oslo.", type="summary_text")
    model = scripted(
        [
            ResponseReasoningItem(id="rs_1", summary=[thought], type="reasoning"),
            function_call("weather", {"city": "Oslo"}, call_id="c1"),
            function_call("weather", {"city": "Bern"}, call_id="c2"),
        ],
        [assistant_message("Sunny in both.")],
        [assistant_message("Yes.")],
    )
    events = person.say("Weather?")
    person.say("Sure?", thread_id_of(events))

    assert any(item["type"] == "workflow" for item in person.items(thread_id_of(events)))
    given = model.calls[-1].input
    TypeAdapter(ResponseInputParam).validate_python(given)
    messages = [message["role"] for message in Converter.items_to_messages(given)]
    assert messages == ["user", "assistant", "tool", "assistant", "tool", "assistant", "user"]


def test_a_failing_model_is_one_sentence_and_the_thread_works_on(
    person: Person, scripted: Callable[..., ScriptedModel], errors: Callable[[], list[str]]
) -> None:
    scripted(RuntimeError("sk-secret"), [assistant_message("Back again.")])
    events = person.say("Hello")

    assert events[-1]["type"] == "error"
    assert events[-1]["code"] == "custom"
    assert events[-1]["allow_retry"]
    assert "sk-secret" not in json.dumps(events) + "".join(errors())
    assert text_of(person.say("Again", thread_id_of(events))) == "Back again."


def test_a_tool_that_raises_is_in_the_log_without_its_words(
    person: Person,
    scripted: Callable[..., ScriptedModel],
    errors: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tests.core.agent.test_agent.CALLS", None)  # so that the tool raises
    call = function_call("weather", {"city": "Oslo"}, call_id="1")
    model = scripted([call], [assistant_message("It failed.")])
    assert text_of(person.say("Weather?")) == "It failed."
    [line] = errors()
    assert line.startswith("tool weather failed: AttributeError")
    assert "test_agent.py" in line
    assert "NoneType" not in line + str(model.calls[-1].input)


def test_a_stop_ends_the_model_and_leaks_nothing(
    server: RunningServer,
    person: Person,
    scripted: Callable[..., ScriptedModel],
    errors: Callable[[], list[str]],
) -> None:
    made: list[int] = []

    async def endless(_: object) -> Any:
        opening = [
            e
            async for e in ScriptedModel([[assistant_message("x")]]).stream_response(
                None,
                "",
                ModelSettings(),
                [],
                None,
                [],
                None,  # type: ignore[arg-type]
                previous_response_id=None,
                conversation_id=None,
                prompt=None,
            )
        ][:4]
        for event in opening:
            yield event
        for number in range(10_000):
            await asyncio.sleep(0.005)
            made.append(number)
            yield ResponseTextDeltaEvent(
                type="response.output_text.delta",
                item_id="scripted-message",
                output_index=0,
                content_index=0,
                delta="y",
                logprobs=[],
                sequence_number=number,
            )

    scripted(ModelStep.stream(endless))
    person.ask("threads.list")
    before = server.tasks()
    with person.http.stream(
        "POST", "/chatkit", json=request("threads.create", input=user_input())
    ) as response:
        for _ in events_of(response):
            if len(made) >= 10:
                break
    wait_until(lambda: server.tasks() == before)
    produced = len(made)
    thread_id = person.ask("threads.list")["data"][0]["id"]
    said = person.items(thread_id)[-1]["content"][0]["text"]
    assert said.count("y") >= 10 - 1
    assert produced < 1000
    assert len(made) == produced
    assert errors() == []


def test_a_stop_at_the_very_end_of_an_answer_leaves_no_error_in_the_log(
    server: RunningServer,
    person: Person,
    scripted: Callable[..., ScriptedModel],
    errors: Callable[[], list[str]],
) -> None:
    """The SDK's reader of the run ends by an exception then, which nobody would look at."""
    body = json.dumps(request("threads.create", input=user_input())).encode()
    context, talker = server.context_of(person), server.app.state.server

    async def stopped(steps: int) -> None:
        result = await talker.process(body, context)
        turn = ResponseTask(result.json_events)
        turn.first_sent.set()
        async with asyncio.timeout(10):
            while b"content_part.done" not in b"".join(turn._ready):  # noqa: ASYNC110
                await asyncio.sleep(0)
        for _ in range(steps):
            await asyncio.sleep(0)
        turn.stop()
        await asyncio.wait({turn.task})

    scripted(*[[assistant_message("x")]] * 40)
    for steps in range(40):
        server.run(stopped(steps))
    gc.collect()
    assert errors() == []


def asking_for(person: Person, **options: Any) -> Json:
    return person.say("Hello", inference_options=options)[-1]


def test_a_client_may_ask_only_for_what_is_listed(
    server: RunningServer, person: Person, scripted: Callable[..., ScriptedModel]
) -> None:
    model = scripted([assistant_message("ok")])
    talker = server.app.state.server

    refused = asking_for(person, model="gpt-expensive")
    assert refused == asking_for(person, tool_choice={"id": "delete_everything"})
    assert refused["message"] == "This choice is not available here. Please make another."
    assert not refused["allow_retry"]
    assert model.calls == ()
    talker.selectable_tools = ("weather",)
    assert asking_for(person, tool_choice={"id": "weather"})["type"] == "thread.item.done"
    assert list(model.calls)[-1].model_settings.tool_choice == "weather"
    del talker.selectable_tools


def test_a_model_that_is_picked_is_made_once(
    server: RunningServer,
    person: Person,
    scripted: Callable[..., ScriptedModel],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It has connections, and may have tokens, of its own."""
    made: list[str] = []

    def build(settings: RunSettings) -> ScriptedModel:
        made.append(settings.model)
        return ScriptedModel([[assistant_message("ok")]] * 3)

    scripted()
    monkeypatch.setattr("app.core.agent.run.build_model", build)
    monkeypatch.setattr("app.server.Server.selectable_models", ("large", "small"))
    for name in ("large", "small", "large"):
        assert asking_for(person, model=name)["type"] == "thread.item.done"
    assert made == ["large", "small"]


def test_an_agent_that_is_a_tool_asks_its_own_model(
    person: Person, scripted: Callable[..., ScriptedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = ScriptedModel([[assistant_message("Four.")]])
    tool = Agent[Any](name="Inner", model=own).as_tool("count", "Count.")
    monkeypatch.setattr("app.server.assistant", AGENT.clone(tools=[tool]))
    call = function_call("count", {"input": "doors"}, call_id="1")
    model = scripted([call], [assistant_message("Four doors.")])
    assert text_of(person.say("Hello")) == "Four doors."
    assert (len(own.calls), len(model.calls)) == (1, 2)


def test_offline_no_agents_own_model_is_asked(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = ScriptedModel([[assistant_message("From a provider.")]])
    monkeypatch.setattr("app.server.assistant", Agent[Any](name="A", model=own))
    assert "offline model" in text_of(person.say("Hello"))
    assert own.calls == ()


def test_a_tool_that_the_agent_does_not_have_is_told_to_the_model(
    person: Person,
    scripted: Callable[..., ScriptedModel],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Made up, beside one that exists; then renamed since it was called."""
    city = {"city": "Oslo"}
    model = scripted(
        [function_call("tides", city, call_id="1"), function_call("weather", city, call_id="2")],
        [assistant_message("I know no tides.")],
        [function_call("weather", city, call_id="3")],
        [assistant_message("It is called otherwise.")],
    )
    events = person.say("The tides?")
    assert text_of(events) == "I know no tides."
    given: Any = list(model.calls)[1].input
    names = {i["call_id"]: i["name"] for i in given if "name" in i}
    outputs = {names[i["call_id"]]: i["output"] for i in given if "output" in i}
    assert outputs.pop("tides") == "Tool 'tides' not found."
    assert "sunny in Oslo" in outputs["weather"]
    assert "does not have: tides" in caplog.text
    monkeypatch.setattr("app.server.assistant", AGENT.clone(tools=[]))
    again = person.say("And the weather?", thread_id_of(events))
    assert text_of(again) == "It is called otherwise."
    told = [item for item in model.calls[-1].input if item.get("call_id")]
    assert len(told) == 6  # the three calls, each with its output


def test_one_budget_of_retries_is_for_all_of_a_turn(
    person: Person, scripted: Callable[..., ScriptedModel]
) -> None:
    again = ModelRetryAdvice(suggested=True, retry_after=0)
    busy = ModelStep.raise_error(RuntimeError("busy"), retry_advice=again)
    call = [function_call("weather", {"city": "Oslo"}, call_id="1")]
    model = scripted(busy, call, busy, busy, [assistant_message("Too late.")])
    assert person.say("Hello")[-1]["type"] == "error"
    assert len(model.calls) == 4


def test_a_model_that_thinks_may_be_silent_for_longer_than_one_that_talks(
    server: RunningServer,
    person: Person,
    scripted: Callable[..., ScriptedModel],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    thought = ResponseReasoningItem(id="rs_1", type="reasoning", summary=[])
    thinker = ScriptedModel([[thought, assistant_message("Here.")]])

    async def slowly(call: Any) -> AsyncIterator[Any]:
        given: Any = (None, "", ModelSettings(), [], None, [], None)
        rest: Any = {"previous_response_id": None, "conversation_id": None, "prompt": None}
        async for event in thinker.stream_response(*given, **rest):
            yield event
            if event.type == "response.output_item.added" and event.item.type == "reasoning":
                await asyncio.sleep(0.3)

    monkeypatch.setattr(server.app.state.server.settings, "model_stall", 0.1)
    scripted(ModelStep.stream(slowly))
    assert text_of(person.say("Think")) == "Here."


@pytest.mark.parametrize(
    ("made_up", "told"),
    [("functions.weather", "functions_weather"), ("天气", "__"), ("", "unknown")],
)
def test_a_made_up_name_that_no_provider_takes_is_not_sent_back(
    person: Person, scripted: Callable[..., ScriptedModel], made_up: str, told: str
) -> None:
    said = [assistant_message(text) for text in ("Sorry.", "Hello.")]
    model = scripted([function_call(made_up, {}, call_id="1")], *([one] for one in said))
    events = person.say("The weather?")
    assert text_of(events) == "Sorry."
    person.say("Hello", thread_id_of(events))
    for call in list(model.calls)[1:]:
        assert [item["name"] for item in call.input if item.get("type") == "function_call"] == [
            told
        ]


@pytest.mark.parametrize("kind", [StopIteration, SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("is_async", [False, True])
def test_a_tool_that_would_end_more_than_itself_has_failed(
    server: RunningServer,
    person: Person,
    scripted: Callable[..., ScriptedModel],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    kind: type[BaseException],
    is_async: bool,
) -> None:
    def count() -> str:
        raise kind

    async def count_later() -> str:
        raise kind

    tool = function_tool(count_later if is_async else count, name_override="count")
    monkeypatch.setattr("app.server.assistant", AGENT.clone(tools=[tool]))
    model = scripted([function_call("count", {}, call_id="1")], [assistant_message("It failed.")])
    assert text_of(person.say("Count")) == "It failed."
    assert "An error occurred" in str(model.calls[-1].input[-1]["output"])
    assert "tool count failed" in caplog.text


def test_no_trace_of_a_run_is_made_unless_asked_for(
    person: Person, scripted: Callable[..., ScriptedModel]
) -> None:
    seen: list[Any] = []

    class Recorder(TracingProcessor):
        def on_trace_start(self, trace: Any) -> None:
            seen.append(trace)

        def on_trace_end(self, trace: Any) -> None: ...
        def on_span_start(self, span: Any) -> None:
            seen.append(span)

        def on_span_end(self, span: Any) -> None: ...
        def shutdown(self) -> None: ...
        def force_flush(self) -> None: ...

    add_trace_processor(Recorder())
    scripted([assistant_message("ok")])
    person.say("Hello")
    assert seen == []


def test_a_run_carries_the_requests_id_and_its_thread(
    person: Person, scripted: Callable[..., ScriptedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trace that somebody asked for is found by the id that the answer and the log have."""
    begun: list[Any] = []
    run_streamed = Runner.run_streamed

    def watched(*args: Any, **named: Any) -> Any:
        begun.append(named["run_config"])
        return run_streamed(*args, **named)

    monkeypatch.setattr(Runner, "run_streamed", watched)
    scripted([assistant_message("ok")])
    answer = person.post("threads.create", input=user_input())
    [config] = begun
    assert config.trace_metadata == {"request_id": answer.headers["x-request-id"]}
    assert config.group_id == thread_id_of(list(events_of(answer)))


def test_without_credentials_the_offline_model_answers_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.server.assistant", AGENT)
    with serve() as server:
        person = server.person()
        first = person.say("The weather: city Oslo")
        second = person.say("And again the weather, city Oslo", thread_id_of(first))
    assert [event["type"] for event in first].count("notice") == 1
    assert [event["type"] for event in second].count("notice") == 0
    assert "weather answered: sunny in Oslo" in text_of(first)


def test_a_model_that_goes_on_calling_tools_is_stopped_after_its_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.server.assistant", AGENT)
    with serve(max_turns=1) as server:
        events = server.person().say("The weather: city Oslo")
    assert "could not finish within the steps" in str(events)


def test_a_workflow_that_is_resumed_keeps_naive_times(
    server: RunningServer, person: Person, scripted: Callable[..., ScriptedModel]
) -> None:
    scripted([assistant_message("one")], [assistant_message("two")])
    thread_id = person.new_thread()
    workflow = ck.WorkflowItem(
        id="wf_1",
        thread_id=thread_id,
        created_at=datetime.now(),
        workflow=ck.Workflow(type="custom", tasks=[ck.CustomTask(title="t")]),
    )
    server.run(server.store.add_thread_item(thread_id, workflow, server.context_of(person)))

    events = person.say("Go on", thread_id)
    assert text_of(events) == "two"
    assert [item["id"] for item in person.items(thread_id)].count("wf_1") == 1


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_an_attribute_that_was_renamed_stops_the_start_with_its_new_name(
    old: str, new: str
) -> None:
    with pytest.raises(SystemExit, match=f"`{old}`.*`{new}`"):
        type("Server", (Server,), {old: ("gpt-5",)})
