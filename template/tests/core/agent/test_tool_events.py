"""What a tool may send while it works: progress, effects, widgets; and what it never gets to
see.
"""

import json
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from agents import Agent, function_tool
from agents.testing import ScriptedModel, assistant_message, function_call
from chatkit.types import ClientEffectEvent, ProgressUpdateEvent
from chatkit.widgets import Card, WidgetTemplate
from pydantic import ValidationError

from app.core.agent.run import Context, RunSettings, ToolContext

from ..chat import Json, Person, thread_id_of
from ..fixtures import RunningServer

TEXT = '{"type": "Card", "children": [{"type": "Text", "value": {{ name | tojson }}}]}'
SCHEMA = {"type": "object", "properties": {"name": {"type": "number"}}}
DOOR = WidgetTemplate({"version": "1.0", "name": "Door", "template": TEXT, "jsonSchema": SCHEMA})
QUOTED = '"}, {"type": "Button'
MEASURED: list[int] = []


@function_tool
async def measure(ctx: ToolContext, doors: int) -> str:
    """Measure doors."""
    MEASURED.append(doors)
    await ctx.context.stream(ProgressUpdateEvent(icon="search", text="Measuring…"))
    await ctx.context.stream(ClientEffectEvent(name="highlight", data={"doors": doors}))
    await ctx.context.stream_widget(DOOR.build({"name": QUOTED}))
    return "80 cm"


AGENT = Agent[Context](name="Test", tools=[measure])


@pytest.fixture
def told(
    server: RunningServer, person: Person, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[Json], tuple[list[Json], ScriptedModel]]]:
    """The events of a turn in which the model calls the tool with these arguments."""
    monkeypatch.setattr("app.server.assistant", AGENT)
    monkeypatch.setattr(RunSettings, "is_offline", False)
    monkeypatch.setattr("app.server.Server.titles", None, raising=False)  # they ask the model too
    talker, steps = server.app.state.server, [assistant_message("Done.")]
    real = talker.model

    def tell(arguments: Json) -> tuple[list[Json], ScriptedModel]:
        model = ScriptedModel([[function_call("measure", arguments, call_id="1")], steps])
        talker.model = model
        return person.say("Measure"), model

    yield tell
    talker.model = real


Tell = Callable[[Json], tuple[list[Json], ScriptedModel]]


def test_progress_and_effects_reach_the_browser(told: Tell) -> None:
    events, _ = told({"doors": 2})
    progress = [event for event in events if event["type"] == "progress_update"]
    effects = [event for event in events if event["type"] == "client_effect"]
    assert [(event["icon"], event["text"]) for event in progress] == [("search", "Measuring…")]
    assert [(event["name"], event["data"]) for event in effects] == [("highlight", {"doors": 2})]


def test_arguments_that_do_not_fit_are_told_to_the_model_alone(told: Tell) -> None:
    MEASURED.clear()
    events, model = told({"doors": "many"})
    assert MEASURED == []
    outputs = [item for item in model.calls[-1].input if "output" in item]
    assert len(outputs) == 1
    assert "many" not in json.dumps(events)
    assert events[-1]["type"] == "thread.item.done"


def test_a_widget_is_shown_and_stored_and_its_data_is_data(told: Tell, person: Person) -> None:
    events, _ = told({"doors": 1})
    widgets = [i for i in person.items(thread_id_of(events)) if i["type"] == "widget"]
    [child] = widgets[0]["widget"]["children"]
    assert child["value"] == QUOTED


def test_a_widgets_file_is_found_beside_the_module_that_names_it(tmp_path: Path) -> None:
    content = {"version": "1.0", "name": "Door", "template": TEXT, "jsonSchema": SCHEMA}
    (tmp_path / "door.widget").write_text(json.dumps(content))
    code = "from chatkit.widgets import WidgetTemplate as T\ndoor = T.from_file('door.widget')\n"
    (tmp_path / "doors.py").write_text(code)
    door = runpy.run_path(str(tmp_path / "doors.py"))["door"]
    assert QUOTED in door.build({"name": QUOTED}).model_dump_json().replace("\\", "")


def test_an_icon_that_chatkit_does_not_know_is_refused() -> None:
    with pytest.raises(ValidationError):
        ProgressUpdateEvent(icon=cast(Any, "spinner"), text="…")


def test_the_classes_of_widgets_are_deprecated() -> None:
    with pytest.warns(DeprecationWarning, match="deprecated"):
        Card(children=[])
