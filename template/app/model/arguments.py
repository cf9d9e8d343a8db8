"""The words of a message as the values of a JSON schema, for the offline model.

The template's file: improvements arrive through `copier update`.
"""

import json
import re
from collections.abc import Callable
from functools import reduce
from math import inf
from typing import Any

Schema = dict[str, Any]
INTEGER = r"(?<![\d.])(?:(?<!\w)-)?\d{1,15}(?!\.?\d)"
NUMBER = r"(?<![\d.])(?:(?<!\w)-)?\d{1,15}(?:\.\d{1,15})?(?!\d)"
BOOLEAN = r"(?<!\w)(?:true|yes|on|false|no|off)(?!\w)"
QUOTED = r"""“[^”\n]+”|"[^"\n]+"|(?<!\w)'[^'\n]+'(?!\w)"""
GAP = r"\s*(?:[:=]|(?:is|to|of)\b)?\s*"  # between a property's name and its value
FILLERS = (
    "a about an and as at by can could do for from give in is it me my now of on or please "
    "that the this to use using want was what will with would you"
)


def mention(name: str) -> str:
    """The pattern of a name in a message: whole words, and `_`, `-` and space are the same."""
    words = [re.escape(word) for word in re.split(r"[\s_-]+", name) if word] or [re.escape(name)]
    return r"(?<!\w)" + r"[\s_-]+".join(words) + r"(?!\w)" if name.strip() else "(?!)"


def search(pattern: str, text: str) -> re.Match[str] | None:
    return re.search(pattern, text, re.IGNORECASE | re.ASCII)


class Words:
    """Gives out each word once. Free text comes after the mention of the `tool`."""

    def __init__(self, root: Schema, message: str, tool: str = "") -> None:
        self.root, self.message, self.tool = root, message[:4000], tool
        self.rest = self.message  # used words become line ends, so that no match crosses them
        called = search(mention(tool), self.rest)
        self.start = called.end() if called else 0
        self._take(f"({mention(tool)})")

    def values(self) -> str:
        """The JSON of a value for the whole schema; for a tool always an object."""
        value = self._value(self.root)
        value = {} if self.tool and not isinstance(value, dict) else value
        return json.dumps(value, ensure_ascii=False, default=str)

    def _value(self, schema: Any, name: str = "", depth: int = 0) -> Any:
        """What the words have for a schema, else its default; None where it is too odd."""
        before = self.rest
        try:
            schema = self._resolve(schema)
            value = None if depth > 6 else self._pick(schema, name, depth)  # it may contain itself
            if self.rest == before and "default" in schema:
                return json.loads(json.dumps(schema["default"], allow_nan=False))
            return value
        except Exception:  # whatever a tool's author wrote, the conversation goes on
            return None

    def _pick(self, schema: Schema, name: str, depth: int) -> Any:
        if values := [schema["const"]] if "const" in schema else schema.get("enum"):
            return self._choice(values, name)
        if options := _options(schema):
            return self._option(options, name, depth)
        match schema.get("type"):
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, name, depth)
            case "integer" | "number" as kind:
                text = self._take(*_near(name, INTEGER if kind == "integer" else NUMBER))
                return _clamp(float(text or schema.get("minimum", 1)), schema)
            case "boolean":
                return self._take(*_near(name, BOOLEAN)).lower() in ("true", "yes", "on")
            case "null":
                return None
        return self._text(schema, name)

    def _choice(self, values: list[Any], name: str) -> Any:
        patterns = {mention(str(value)): value for value in values}
        longest = sorted(patterns, key=len, reverse=True)
        text = self._take(*_near(name, "|".join(longest)))
        return next((patterns[p] for p in longest if search(f"^{p}$", text)), values[0])

    def _option(self, options: list[Schema], name: str, depth: int) -> Any:
        """The first option that has a use for the words, else null, else the simplest."""
        before, values = self.rest, list[Any]()
        for option in options:
            values.append(self._value(option, name, depth + 1))
            if self.rest != before:
                return values[-1]
        return None if None in values else values[0 if depth < 3 else -1]

    def _object(self, schema: Schema, depth: int) -> Schema:
        required, result = schema.get("required", []), {}
        properties = dict.fromkeys(required) | schema.get("properties", {})
        for name in sorted(properties, key=lambda name: self._turn(name, properties[name])):
            before = self.rest
            value = self._value(properties[name], name, depth + 1)
            if self.rest != before:
                self._take(f"({mention(name)})")
            if self.rest != before or name in required:
                result[name] = value
        return result

    def _turn(self, name: str, schema: Any) -> tuple[bool, bool, bool]:
        """Text chooses last, for it takes any words; what the message names chooses first."""
        exact = search(r"'(integer|number|boolean|enum|const|\$ref)'", repr(schema))
        code = search(mention(name) + GAP + r"\d", self.rest)
        return not (exact or code), not search(mention(name), self.rest), "null" in repr(schema)

    def _array(self, schema: Schema, name: str, depth: int) -> list[Any]:
        first, least = schema.get("prefixItems", []), schema.get("minItems", int(depth < 3))
        found: list[Any] = []
        for index in range(schema.get("maxItems", max(least, 20))):
            before, item = self.rest, [*first, schema.get("items")][min(index, len(first))]
            value = self._value(item, name, depth + 1)
            if self.rest == before and index >= least:
                break
            if not (schema.get("uniqueItems") and value in found):
                found.append(value)
        return found

    def _text(self, schema: Schema, name: str) -> str:
        """The words after the property's name, else quoted ones, else all after the tool's name."""
        least, most = schema.get("minLength", 0), schema.get("maxLength")
        names = "|".join(map(mention, re.findall(r"'([^']+)': {", repr(self.root)))) or "(?!)"
        end = rf"[,;\n]|[.!?](?:\s|$)|\s+(?:(?:and|for|please|then|with)\b|{names})|$"
        named = rf"{mention(name)}{GAP}({QUOTED}|[^\s\"“',;.!?].*?(?={end}))"
        after = rf"(?s)\A.{{{self.start}}}(.+)"
        words = [named, f"({QUOTED})", after] + [r"(\S+)"] * ("pattern" in schema)

        def fits(text: str) -> bool:
            text = _trim(text)[:most]
            return len(text) >= max(least, 1) and bool(re.search(schema.get("pattern", ""), text))

        text = self._take(*words, fits=fits)
        return _trim(text)[:most] if text else self.message[:most].ljust(least, ".")

    def _take(self, *patterns: str, fits: Callable[[str], bool] = bool) -> str:
        """The first unused words that fit, which are the pattern's group; else nothing."""
        for pattern in patterns:
            for found in re.finditer(pattern, self.rest, re.IGNORECASE | re.ASCII):
                if fits(found[1]):
                    start, end = found.span()
                    self.rest = self.rest[:start] + "\n" * (end - start) + self.rest[end:]
                    return found[1]
        return ""

    def _resolve(self, schema: Any) -> Schema:
        """The schema with its `$ref` and `allOf` merged into it."""
        merged = dict(schema) if isinstance(schema, dict) else {}
        parts = list(merged.pop("allOf", []))
        if ref := merged.pop("$ref", None):
            parts.append(reduce(lambda node, key: node[key], ref.split("/")[1:], self.root))
        for part in map(self._resolve, parts):
            properties = part.get("properties", {}) | merged.get("properties", {})
            required = [*part.get("required", []), *merged.get("required", [])]
            merged = part | merged | {"properties": properties, "required": required}
        return merged


def _near(name: str, pattern: str) -> tuple[str, str]:
    """What to look for: the pattern right behind the property's name, else anywhere."""
    return f"{mention(name)}{GAP}({pattern})", f"({pattern})"


def _options(schema: Schema) -> list[Schema]:
    """What `anyOf`, `oneOf` or a list of types leave to choose from."""
    base = {key: schema[key] for key in schema if key not in ("anyOf", "oneOf", "default")}
    if isinstance(kinds := schema.get("type"), list):
        return [base | {"type": kind} for kind in kinds]
    options = schema.get("anyOf") or schema.get("oneOf") or []
    return [{"allOf": [option, base]} for option in options]


def _clamp(value: float, schema: Schema) -> float:
    """The nearest number within the schema's limits."""
    step = schema.get("multipleOf", 1 if schema["type"] == "integer" else 0)
    gap = step or 1e-6
    low = max(schema.get("minimum", -inf), schema.get("exclusiveMinimum", -inf) + gap)
    high = min(schema.get("maximum", inf), schema.get("exclusiveMaximum", inf) - gap)
    value = max(low, min(value, high))
    if step:
        value = value // step * step
        value += step if value < low else 0
    return int(value) if value == int(value) else value


def _trim(text: str) -> str:
    """The text without the quotes, punctuation and filler words around it."""
    words = text.strip("\"'“”").split()
    for end in (0, -1):
        while words and words[end].lower().strip(",;:!?.=-") in ["", *FILLERS.split()]:
            words.pop(end)
    return " ".join(words).rstrip(",;:!?.")
