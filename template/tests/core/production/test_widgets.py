"""Widgets: typed data in, and nothing in the data that changes more than its own text."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from chatkit.widgets import StrictWidgetRoot
from pydantic import BaseModel, TypeAdapter

from app import widgets
from app.core.production.approvals import ApprovalCard
from app.core.production.widget import Widget

from ..chat import Person, thread_id_of
from ..fixtures import RunningServer
from .desk import calling, done, items, parts

HOSTILE = ['a "quote" and \\"', "a line\nand another", "{{ 7 * 7 }}{% raw %}", "</script><script>"]
EVERY = [one for one in vars(widgets).values() if isinstance(one, type) and issubclass(one, Widget)]
EVERY = [one for one in EVERY if one is not Widget] + [ApprovalCard]


def sample(kind: Any, text: str) -> Any:
    """A value of a field's type, with `text` wherever there is one."""
    if get_origin(kind) is list:
        return [sample(get_args(kind)[0], text)] * 2
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {name: sample(f.annotation, text) for name, f in kind.model_fields.items()}
    return {str: text, int: 7, float: 7.5, bool: True}[kind]


def texts(kind: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where in a widget's data there are texts."""
    if get_origin(kind) is list:
        yield from texts(get_args(kind)[0], (*path, 0))
    elif isinstance(kind, type) and issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            yield from texts(field.annotation, (*path, name))
    elif kind is str:
        yield path


def put(data: Any, path: tuple[Any, ...], text: str) -> Any:
    """A copy of the data with a text in one place."""
    copy = json.loads(json.dumps(data))
    place = copy
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = text
    return copy


FIELDS = [(one, path) for one in EVERY for path in texts(one)]


def name_of(field: Any) -> str:
    return field.__name__ if isinstance(field, type) else ".".join(map(str, field))


def test_there_is_something_to_try() -> None:
    assert len(EVERY) > 5
    assert len(FIELDS) > 12


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize(("widget", "path"), FIELDS, ids=name_of)
def test_every_value_comes_out_as_text_and_nothing_else(
    widget: type[Widget], path: tuple[Any, ...], hostile: str
) -> None:
    for rest in ("rest", ""):  # an empty text may choose another branch of the template
        plain, odd = (
            widget.model_validate(put(sample(widget, rest), path, text)).build().model_dump()
            for text in ("harmless", hostile)
        )
        text = json.dumps(plain).replace("harmless", json.dumps(hostile)[1:-1])
        assert json.loads(text) == odd


@pytest.mark.parametrize("text", ["text", ""])
@pytest.mark.parametrize("widget", EVERY, ids=name_of)
def test_every_widget_is_one_that_chatkit_can_draw(widget: type[Widget], text: str) -> None:
    built = widget.model_validate(sample(widget, text)).build()
    TypeAdapter[Any](StrictWidgetRoot).validate_python(built.model_dump(exclude_none=True))


def test_every_file_has_its_class() -> None:
    assert widgets.__file__
    files = {path.name for path in Path(widgets.__file__).parent.glob("*.widget")}
    source = Path(widgets.__file__).read_text()
    assert files == set(re.findall(r'file="(.*?)"', source))


SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
CARD = '{"type":"Card","children":[{"type":"Text","value":%s}]}'


@pytest.mark.parametrize(
    ("printed", "schema", "told"),
    [
        ('"{{ text }}"', SCHEMA, "without `| tojson`: text"),
        ("{{ text | upper }}", SCHEMA, "without `| tojson`: text | upper"),
        ("{{ text | tojson }}", SCHEMA | {"required": []}, "differ"),
        ("{{ text | tojson }}", SCHEMA | {"properties": {"text": {"type": "number"}}}, "differ"),
        ("{{ text | tojson }}", SCHEMA | {"properties": {}}, "differ"),
    ],
)
def test_a_file_that_does_not_fit_its_class_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: str, schema: Any, told: str
) -> None:
    definition = {"version": "1.0", "name": "x", "template": CARD % printed, "jsonSchema": schema}
    (tmp_path / "x.widget").write_text(json.dumps(definition))
    (tmp_path / "odd.py").write_text(
        "from app.core.production.widget import Widget\n"
        "class X(Widget, file='x.widget'):\n    text: str\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TypeError, match=re.escape(told)):
        __import__("odd")


@pytest.mark.parametrize(
    ("tool", "root", "inside"),
    [
        ("list_orders", "ListView", {"ListViewItem", "Badge"}),
        ("show_order", "Card", {"Image", "Title", "Button"}),
        ("report_problem", "Card", {"Form", "Select", "Textarea", "Button"}),
        ("show_spending", "Card", {"Chart"}),
        ("return_policy", "Card", {"Markdown"}),
    ],
)
def test_a_tool_shows_its_widget_and_it_is_there_after_a_reload(
    server: RunningServer, person: Person, tool: str, root: str, inside: set[str]
) -> None:
    arguments: dict[str, Any] = {"order": 1001} if inside & {"Image", "Form"} else {}
    calling(server, tool, **arguments)
    events = person.say("Show me")
    [item] = done(events, "widget")
    assert item["widget"]["type"] == root
    assert inside <= {part.get("type") for part in parts(item["widget"])}
    assert item in items(person, thread_id_of(events))


def test_a_widget_streams_its_text(server: RunningServer, person: Person) -> None:
    calling(server, "return_policy")
    events = person.say("May I send it back?")
    [added] = [
        e["item"] for e in events if e["type"] == "thread.item.added" and "widget" in e["item"]
    ]
    updates = [event["update"] for event in events if event["type"] == "thread.item.updated"]
    deltas = [u["delta"] for u in updates if u["type"] == "widget.streaming_text.value_delta"]
    [item] = done(events, "widget")
    first, last = (next(p for p in parts(w["widget"]) if p.get("id")) for w in (added, item))
    assert len(deltas) > 5
    assert (first["value"] + "".join(deltas)).startswith("You may send back")
    assert last["value"].startswith(first["value"] + "".join(deltas))
    assert not last.get("streaming")
