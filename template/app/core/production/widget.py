"""Widgets from `.widget` files: typed data in, a ChatKit widget out."""

import inspect
import json
import re
from pathlib import Path
from typing import Any, ClassVar

from chatkit.widgets import WidgetRoot, WidgetTemplate
from pydantic import BaseModel

EXPLAINING = {"title", "description", "default", "examples", "additionalProperties"}
EXPLAINING |= {"$schema", "$defs"}


class Widget(BaseModel):
    """The data of a widget: `class X(Widget, file="x.widget")` names the file beside its module.

    Raises TypeError at import where the fields are not those of the file's jsonSchema, or where
    its template prints a value without `| tojson`, by which a quote would break the widget.
    """

    template: ClassVar[WidgetTemplate]

    def __init_subclass__(cls, *, file: str, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)

    @classmethod
    def __pydantic_init_subclass__(cls, *, file: str = "", **_: Any) -> None:
        definition = json.loads(Path(inspect.getfile(cls)).with_name(file).read_text("utf-8"))
        printed = re.findall(r"\{\{(.*?)\}\}", definition["template"], re.DOTALL)
        if bare := [text for text in printed if not re.search(r"\|\s*tojson\s*-?$", text.strip())]:
            raise TypeError(f"{file} prints a value without `| tojson`: {bare[0].strip()}")
        ours, its = shape(cls.model_json_schema()), shape(definition["jsonSchema"])
        if ours != its:
            raise TypeError(f"{cls.__name__} and the jsonSchema of {file} differ: {ours} and {its}")
        cls.template = WidgetTemplate(definition)

    def build(self) -> WidgetRoot:
        return self.template.build(self.model_dump(mode="json"))


def shape(schema: Any, definitions: Any = None) -> Any:
    """A JSON schema without what only explains it, its references put in their places."""
    if isinstance(schema, list):
        return [shape(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    definitions = definitions or schema.get("$defs", {})
    if "$ref" in schema:
        return shape(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    kept = {name: part for name, part in schema.items() if name not in EXPLAINING}
    named = kept.pop("properties", {})
    whole = {name: shape(part, definitions) for name, part in kept.items()}
    whole["required"] = sorted(kept.get("required", []))
    return whole | {"properties": {name: shape(named[name], definitions) for name in named}}
