"""The offline model streams words, and calls tools of which it knows the JSON schema alone."""

import asyncio
import json
import random
import time
from typing import Any

import pytest
from agents import Agent, FunctionTool, ModelSettings, RunConfig, Runner

from app.core.agent.model.offline import OfflineModel

DICE = {"sides": {"enum": [6, 20]}, "times": {"type": "integer", "maximum": 9}}


def a_tool(name: str, properties: dict[str, Any]) -> FunctionTool:
    """A tool that answers with the arguments it was called with."""

    async def answer(_: Any, arguments: str) -> str:
        return arguments

    schema = {"type": "object", "properties": properties, "required": [*properties]}
    return FunctionTool(name, "", schema, answer, strict_json_schema=False)


def turn(said: Any, *tools: FunctionTool, **options: Any) -> tuple[Any, list[Any]]:
    """The finished run, and the model's events in it."""
    agent = Agent("a", tools=[*tools], **{"model": OfflineModel()} | options)

    async def run() -> tuple[Any, list[Any]]:
        result = Runner.run_streamed(agent, said, run_config=RunConfig(tracing_disabled=True))
        events = [e.data async for e in result.stream_events() if e.type == "raw_response_event"]
        return result, events

    return asyncio.run(run())


def calls(result: Any) -> list[tuple[str, Any]]:
    items = [item.raw_item for item in result.new_items if item.type == "tool_call_item"]
    return [(item.name, json.loads(item.arguments)) for item in items]


def test_a_message_without_a_tools_name_gets_a_short_answer() -> None:
    result, _ = turn("Hello there", a_tool("roll_dice", DICE))
    assert result.final_output.startswith('You said: "Hello there". I am the offline model')
    assert result.final_output.endswith("to see it run: roll_dice.")
    assert calls(result) == []


@pytest.mark.parametrize("said", ["roll_dice 20 times 3", "Roll dice, 20 sides and times: 3"])
def test_a_mentioned_tool_is_called_and_its_output_told(said: str) -> None:
    result, _ = turn(said, a_tool("roll", {}), a_tool("roll_dice", DICE), a_tool("dice", {}))
    assert calls(result) == [("roll_dice", {"sides": 20, "times": 3})]
    assert result.final_output == 'roll_dice answered: {"sides": 20, "times": 3}.'


@pytest.mark.parametrize("seed", range(12))
def test_a_tool_that_nobody_foresaw_is_called_by_its_schema(seed: int) -> None:
    chance = random.Random(seed)
    first, last, choice, number, text, flag, *words = (
        "".join(chance.choices("bcdfghjklmnp", k=8)) for _ in range(10)
    )
    wanted, count, most = chance.choice(words), chance.randint(-99, 99), chance.randint(0, 50)
    schema = {
        text: {"type": "string"},
        flag: {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
        number: {"type": "integer", "minimum": -50, "maximum": most},
        choice: {"enum": words},
    }
    said = f"please {first}{chance.choice(' _-')}{last.upper()} {count} {wanted} for 'Jo Ann'"
    arguments = {text: "Jo Ann", flag: None, number: max(-50, min(count, most)), choice: wanted}
    result, _ = turn(said, a_tool(f"{first}_{last}", schema))
    assert calls(result) == [(f"{first}_{last}", arguments)]
    assert wanted in result.final_output


@pytest.mark.parametrize("said", ["in New York?", "20 for city: New York", 'city="New York", 6'])
def test_text_is_what_follows_a_name(said: str) -> None:
    result, _ = turn(f"Please get_weather {said}", a_tool("get_weather", DICE | {"city": {}}))
    assert calls(result)[0][1]["city"] == "New York"


@pytest.mark.parametrize("odd", [None, {}, {"$ref": "#/no"}, {"enum": 5}, {"pattern": "("}])
def test_an_odd_schema_does_not_stop_the_answer(odd: Any) -> None:
    result, _ = turn("odd_one 7", a_tool("odd_one", {"x": odd, "times": DICE["times"]}))
    arguments = calls(result)[0][1]
    assert arguments == {"x": arguments["x"], "times": 7}


def test_a_schema_that_contains_itself_comes_to_an_end() -> None:
    node = {
        "type": "object",
        "properties": {"next": {"type": "array", "items": {"$ref": "#/$defs/n"}}},
    }
    tool = FunctionTool(
        "walk",
        "",
        {"$defs": {"n": node}, "type": "object", "properties": {"start": {"$ref": "#/$defs/n"}}},
        a_tool("walk", {}).on_invoke_tool,
        strict_json_schema=False,
    )
    result, _ = turn("walk", tool)
    assert "next" in calls(result)[0][1]["start"]


def test_an_optional_part_like_the_whole_is_made_where_it_is_named() -> None:
    node = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "parent": {"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]},
        },
    }
    fields = {"node": {"$ref": "#/$defs/n"}}
    tool = FunctionTool(
        "plant",
        "",
        {"$defs": {"n": node}, "type": "object", "properties": fields},
        a_tool("plant", {}).on_invoke_tool,
        strict_json_schema=False,
    )
    result, _ = turn("plant an oak", tool)
    assert calls(result)[0][1]["node"] == {"name": "oak", "parent": None}
    result, _ = turn("plant an oak with the parent", tool)
    assert calls(result)[0][1]["node"]["parent"]["parent"] is None


def test_the_answer_comes_word_by_word_() -> None:
    started = time.perf_counter()
    result, events = turn("Hello there", model=OfflineModel(delay=0.01))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert 3 < len(deltas) == len(result.final_output.split())
    assert time.perf_counter() - started > 0.01 * (len(deltas) - 1)
    assert "".join(deltas) == result.final_output


def test_the_next_turn_answers_the_new_message_with_new_ids() -> None:
    hidden = "Hidden context for the agent (not shown to the user):\nroll_dice"
    said = [{"role": "user", "content": text} for text in ("roll_dice 6", "Thanks", hidden)]
    first, _ = turn(said[:1], a_tool("roll_dice", DICE))
    second, _ = turn([*first.to_input_list(), *said[1:]], a_tool("roll_dice", DICE))
    assert second.final_output.startswith('You said: "Thanks".')
    raw = [item.raw_item for item in (*first.new_items, *second.new_items)]
    ids = {item.id for item in raw if not isinstance(item, dict)}
    assert sorted(id_.split("_")[0] for id_ in ids) == ["fc", "msg", "msg"]


@pytest.mark.parametrize(("choice", "said", "count"), [("none", "dice", 0), ("required", "", 1)])
def test_the_settings_overrule_the_message(choice: str, said: str, count: int) -> None:
    settings = ModelSettings(tool_choice=choice)
    result, _ = turn(said, a_tool("dice", DICE), model_settings=settings)
    assert len(calls(result)) == count
