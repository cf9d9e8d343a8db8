"""Entries of a form that do not fit, in words for the person who filled it in."""

from collections.abc import Iterator
from typing import Any

from chatkit.widgets import WidgetRoot
from pydantic import BaseModel, ValidationError

from ..errors import logger

WRONG = "Please check your entries."
WRONG_ENTRY = 'Please check your entry for "{}".'


class Explain(str):
    """What the person reads when a field does not fit.

    text: Annotated[str, Explain("Please write what is wrong."), StringConstraints(min_length=1)]
    """


def wrong_entries(
    error: ValidationError, model: type[BaseModel], widget: WidgetRoot | None = None
) -> str:
    """A sentence for each field that does not fit: its `Explain`, or one with the form's label."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    names = dict.fromkeys(str(one["loc"][0]) for one in found if one["loc"])
    kinds = {one["type"] for one in found}
    logger.info("action_refused reason=%s", ",".join(sorted(kinds)))
    labels = {
        part.get("fieldName"): part.get("value")
        for _, part in (components(widget) if widget else ())
        if part.get("type") == "Label"
    }
    said = []
    for name in names:
        field = model.model_fields.get(name)
        words = [one for one in (field.metadata if field else ()) if isinstance(one, Explain)]
        label = labels.get(name)
        said.append(str(words[0]) if words else WRONG_ENTRY.format(label) if label else WRONG)
    return " ".join(dict.fromkeys(said)) or WRONG


def components(widget: WidgetRoot) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of a widget with the name under which it stands; what is data has none."""
    return _parts(widget.model_dump())


def _parts(value: Any, slot: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(value, list):
        for part in value:
            yield from _parts(part)
    elif isinstance(value, dict):
        yield slot, value
        for name, part in value.items():
            if name not in ("payload", "data"):
                yield from _parts(part, name)
