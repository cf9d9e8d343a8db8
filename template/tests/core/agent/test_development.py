"""The terminal of a developer shows why their tool or agent failed; production's log does not."""

import logging
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from agents import Agent, function_tool
from agents.testing import ScriptedModel, assistant_message, function_call

from app.core import development
from app.core.agent import tool_names
from app.core.agent.run import RunSettings

from ..chat import Person, text_of
from ..fixtures import RunningServer

OWNERS = """
from agents import function_tool

@function_tool
def count() -> str:
    raise ValueError("no such file: doors.csv, with sk-" + "sesame"[::-1])

def instructions(ctx, agent):
    raise LookupError("no such language: xx")
"""


@pytest.fixture
def run(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Agent[Any], list[Any]], ScriptedModel]:
    """Let an agent answer, by a model with these steps."""
    monkeypatch.setattr(RunSettings, "is_offline", False)
    monkeypatch.setattr("app.server.Server.titles", None, raising=False)

    def let(agent: Agent[Any], steps: list[Any]) -> ScriptedModel:
        monkeypatch.setattr("app.server.assistant", agent)
        model = ScriptedModel(steps)
        monkeypatch.setattr(server.app.state.server, "model", model)
        return model

    return let


Run = Callable[[Agent[Any], list[Any]], ScriptedModel]


@pytest.mark.parametrize("is_on", [True, False])
def test_a_tool_of_the_owners_that_fails_says_why(
    person: Person,
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    is_on: bool,
) -> None:
    (file := tmp_path / "doors.py").write_text(OWNERS)
    owners = runpy.run_path(str(file))
    monkeypatch.setattr(development, "is_on", is_on)
    call = [function_call("count", {}, call_id="1")]
    run(Agent[Any](name="A", tools=[owners["count"]]), [call, [assistant_message("It failed.")]])
    events = person.say("Count")
    assert text_of(events) == "It failed."
    assert "doors.csv" not in str(events)
    assert f'{file}", line 6' in caplog.text
    assert ("ValueError: no such file: doors.csv" in caplog.text) is is_on
    assert "sk-emases" not in caplog.text

    run(Agent[Any](name="A", instructions=owners["instructions"]), [])
    assert person.say("Hello")[-1]["type"] == "error"
    assert f'{file}", line 9' in caplog.text
    assert ("LookupError: no such language: xx" in caplog.text) is is_on


@pytest.mark.parametrize("is_on", [True, False])
def test_the_sdks_words_are_shown_at_the_level_debug(
    server: RunningServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    is_on: bool,
) -> None:
    monkeypatch.setattr(development, "is_on", is_on)
    caplog.set_level(logging.DEBUG, "openai.agents")
    logging.getLogger("openai.agents").debug("Invoking tool %s", "count")
    assert ("Invoking tool count" in caplog.text) is is_on
    assert "openai.agents" in caplog.text


def test_hand_offs_keep_apart_whose_names_have_no_latin_letters(person: Person, run: Run) -> None:
    others = [Agent[Any](name=name) for name in ("退款", "物流", "Ärger", "Ürger", "Plain one")]
    model = run(Agent[Any](name="A", handoffs=[*others]), [[assistant_message("Hello.")]])
    person.say("Hello")
    names = [one.tool_name for one in model.calls[0].handoffs]
    assert len({*names}) == len(names) >= 5
    assert "transfer_to_plain_one" in names
    assert all(name.isascii() for name in names)


def test_the_sdk_still_makes_one_name_of_two_that_are_not_latin() -> None:
    """As soon as this fails, `_unique_name` in `app/core/agent/tool_names.py` can go."""
    assert tool_names._plain_name("退款") == tool_names._plain_name("物流")


def test_names_that_several_tools_share_are_in_the_log(
    person: Person, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    tools = [function_tool(lambda: "1", name_override="count") for _ in range(2)]
    with caplog.at_level(logging.WARNING):
        odd = Agent[Any](name="Odd: 退款", tools=[*tools])
        asking = Agent[Any](name="Collision", tools=[*tools], handoffs=[odd])
        run(asking, [[assistant_message("Hello.")]])
        person.say("Hello")
    assert "agent 'Collision' has 2 tools or hand-offs of the name 'count'" in caplog.text
    assert "'transfer_to_Odd: 退款'" in caplog.text  # the SDK's own warning keeps the name
