"""The text of what a person sends, as guardrails read it."""

from collections.abc import Iterator
from typing import Any

from chatkit import types as ck


def text_of_message(message: ck.UserMessageItem) -> str:
    """All of a message that can become model input: words, quote, tags and names of files."""
    lines = ["".join(part.text for part in message.content), message.quoted_text or ""]
    for part in message.content:
        if isinstance(part, ck.UserMessageTagContent):
            lines += [part.id, part.group or "", text_of_data(part.data)]
    for file in message.attachments:
        lines += [file.name, file.mime_type]
    return "\n".join(filter(None, lines))


def text_of_data(data: Any) -> str:
    """JSON as lines of `name: value`; the names keep two numbers from reading as one."""
    return "\n".join(_lines(data, "value"))


def _lines(data: Any, name: str) -> Iterator[str]:
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _lines(value, str(key))
            if not value:
                yield str(key)
    elif isinstance(data, list):
        for value in data:
            yield from _lines(value, name)
    elif data is not None and not isinstance(data, bool) and data != "":
        yield f"{name}: {data}"
