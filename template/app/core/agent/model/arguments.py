"""Arguments for a tool from a person's words, by nothing but the tool's JSON schema."""

import json
import re
from typing import Any

FLAGS = re.IGNORECASE
QUOTED = r"[\"“']([^\"“”']+)[\"”']"
FILLERS = "a|an|and|at|by|call|can|could|for|from|in|is|it|me|of|on|or|please|run|the|to|use|with"


def mention(name: str) -> str:
    """The pattern of a name in a message: whole words; `_`, `-` and space are the same."""
    parts = [re.escape(part) for part in re.split(r"[\s_-]+", name) if part]
    return r"(?<!\w)" + r"[\s_-]+".join(parts) + r"(?!\w)" if parts else "(?!)"


class Words:
    """A message whose words become values; each word is used once."""

    def __init__(self, schema: dict[str, Any], message: str, tool: str = "") -> None:
        self.schema, self.message, self.lists = schema, message, 0
        self.left = re.sub(mention(tool), ";", message, count=1, flags=FLAGS)

    def values(self) -> str:
        """JSON of the schema's shape; a schema that nobody can read gets null or a text."""
        return json.dumps(self._value(self.schema, ""), ensure_ascii=False)

    def _value(self, schema: Any, name: str) -> Any:
        schema = self._resolved(schema, name)
        if options := schema.get("enum") or ([schema["const"]] if "const" in schema else None):
            return self._choice(options, schema, name) if isinstance(options, list) else None
        match schema.get("type"):
            case "object":
                self.left = re.sub(mention(name), ";", self.left, count=1, flags=FLAGS)
                return self._object(schema.get("properties", {}))
            case "array":
                self.lists += 1  # a schema may contain itself
                return [self._value(schema.get("items"), name)] if self.lists < 9 else []
            case "integer" | "number" as kind:
                number = self._number(schema, name)
                return int(number) if kind == "integer" else number
            case "boolean":
                named = re.search(mention(name), self.left, FLAGS) is not None
                word = self._take(r"\b(true|yes|on|false|no|off)\b", name)
                return word.lower() in "true yes on" if word else schema.get("default", named)
            case "null":
                return None
        return self._text(name) or schema.get("default", self.message)

    def _resolved(self, schema: Any, name: str) -> dict[str, Any]:
        """The schema without references and alternatives; null for an optional one not named."""
        schema = schema if isinstance(schema, dict) else {}
        if reference := re.fullmatch(r"#/\$defs/(.+)", str(schema.get("$ref"))):
            schema = {**self.schema.get("$defs", {}).get(reference[1], {}), **schema}
        options = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf") or []
        if {"type": "null"} in options and not re.search(mention(name), self.left, FLAGS):
            return {"const": schema.get("default")}
        return {**schema, **self._resolved(options[0], name)} if options else schema

    def _object(self, fields: dict[str, Any]) -> dict[str, Any]:
        def is_text(field: str) -> bool:  # takes what the others leave over
            schema = self._resolved(fields[field], field)
            return schema.get("type", "string") == "string" and not {"enum", "const"} & {*schema}

        found = {field: self._value(fields[field], field) for field in sorted(fields, key=is_text)}
        return {field: found[field] for field in fields}

    def _choice(self, options: list[Any], schema: dict[str, Any], name: str) -> Any:
        named = "|".join(re.escape(str(option)) for option in options)
        word = self._take(rf"(?<!\w)({named})(?!\w)", name)
        known = [option for option in options if word and str(option).lower() == word.lower()]
        return known[0] if known else schema.get("default", options[0])

    def _number(self, schema: dict[str, Any], name: str) -> float:
        least, most = schema.get("minimum", -(2**53)), schema.get("maximum", 2**53)
        text = self._take(r"(?<![\w.])(-?\d+(?:\.\d+)?)", name)
        number = float(text or schema.get("default") or max(least, 1))
        return float(max(least, min(most, number)))

    def _text(self, name: str) -> str:
        after = self._take(r"([^\s\"“',;.!?=:][^\"“,;.!?]*)", name, anywhere=False)
        if text := self._take(QUOTED, name) or after:
            return text.strip()
        rest, self.left = self.left, ""
        text = re.sub(rf"(?<![\w-])({FILLERS})(?![\w-])", " ", rest, flags=FLAGS)
        return " ".join(text.split()).strip(" ,;.:!?")

    def _take(self, pattern: str, name: str, anywhere: bool = True) -> str | None:
        """What matches right after the name of the argument, else anywhere; then it is used."""
        after = re.search(rf"{mention(name)}\s*[:=]?\s*{pattern}", self.left, FLAGS)
        if found := after or (re.search(pattern, self.left, FLAGS) if anywhere else None):
            self.left = self.left[: found.start()] + ";" + self.left[found.end() :]
            return found[1]
        return None
