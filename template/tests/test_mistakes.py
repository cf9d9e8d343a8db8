"""The mistakes of docs/mistakes.md, each looked for in the application's own code.

The template's file: improvements arrive through `copier update`.

It is read, never run: what is found is named by file and line. Where a line is right all the same,
say why in a comment and end the line with `# not a mistake`.
"""

import ast
import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

APP = Path(__file__).resolve().parent.parent / "app"
NOTE, RIGHT = "The template's file", "# not a mistake"
BLOCKING = {
    ("time", "sleep"),
    ("psycopg", "connect"),
    ("sqlite3", "connect"),
    ("subprocess", "run"),
    *((module, verb) for module in ("requests", "httpx") for verb in ("get", "post", "put")),
}
SENDING = {"JSONResponse", "ORJSONResponse", "UJSONResponse"}
CHANGING = {"append", "add", "update", "setdefault", "pop", "extend", "insert", "clear", "remove"}
CONTAINERS = {"dict", "list", "set", "defaultdict", "deque", "OrderedDict", "Counter"}
SECRET_NAMES = re.compile("key|secret|token|password", re.IGNORECASE)
SECRETS = re.compile(
    r"sk-[\w-]{16,}|-----BEGIN [A-Z ]*PRIVATE KEY|://[^/\s:{}]+:[^@\s{}]+@(?!host)"
)
IDENTITY = {"user", "user_id", "owner", "org_id", "organisation", "person", "customer_id"}


class Module(NamedTuple):
    path: Path
    lines: list[str]
    tree: ast.Module
    is_owners: bool


@cache
def modules() -> list[Module]:
    found = []
    for path in sorted(APP.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        found.append(Module(path, text.splitlines(), ast.parse(text), NOTE not in text[:400]))
    return found


def places(is_wrong: Callable[[ast.AST], bool], everywhere: bool = False) -> list[str]:
    """Where something is wrong, in the owner's files or in all of them."""
    return [
        found
        for module in modules()
        if everywhere or module.is_owners
        for node in ast.walk(module.tree)
        if is_wrong(node)
        for found in place(module, node)
    ]


def place(module: Module, node: ast.AST) -> list[str]:
    """Where it is; nothing where its line says that it is meant so."""
    line: int = getattr(node, "lineno", 1)
    is_meant = RIGHT in module.lines[line - 1]
    return [] if is_meant else [f"{module.path.relative_to(APP.parent).as_posix()}:{line}"]


def name_of(node: ast.AST | None) -> str:
    """The last part of a dotted name."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call(func=func):
            return name_of(func)
    return ""


def functions(everywhere: bool = False) -> Iterator[tuple[Module, ast.AST]]:
    for module in modules():
        if everywhere or module.is_owners:
            for node in ast.walk(module.tree):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield module, node


def calls_process(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Attribute(attr="process", value=value)):
            return not name_of(value).startswith("super")
    return False


def is_raw_body(node: ast.AST) -> bool:
    return isinstance(node, ast.Await) and name_of(node.value) == "body"


def test_process_gets_the_raw_body() -> None:
    """Parsed and written again, a body is another one: process() reads the JSON itself."""

    def is_wrong(node: ast.AST) -> bool:
        return isinstance(node, ast.Call) and calls_process(node) and not is_raw_body(node.args[0])

    assert places(is_wrong, everywhere=True) == []


def test_what_process_gives_is_told_apart_and_sent_as_it_is() -> None:
    """A stream is no JSON, and a result's JSON is ready to be sent: wrapped, it is a string."""
    found = []
    for module, function in functions(everywhere=True):
        nodes = list(ast.walk(function))
        if any(map(calls_process, nodes)):
            told_apart = any(isinstance(n, ast.Name) and n.id == "StreamingResult" for n in nodes)
            wrapped = any(isinstance(n, ast.Call) and name_of(n) in SENDING for n in nodes)
            if wrapped or not told_apart:
                found += place(module, function)
    assert found == []


def test_the_store_is_used_by_the_server_alone() -> None:
    """Around process() nobody has checked whose thread it is, and no lease is held."""

    def is_wrong(node: ast.AST) -> bool:
        match node:
            case ast.Attribute(attr="store", value=ast.Attribute(attr="server")):
                return True
            case ast.ImportFrom(names=names):
                return any(alias.name == "open_store" for alias in names)
        return False

    assert places(is_wrong) == []


def test_no_conversation_is_kept_in_the_process() -> None:
    """Another process does not have it, a restart forgets it, and everybody shares it."""
    found = []
    for module, function in functions():
        kept = set(containers(module.tree))
        for node in ast.walk(function):
            if isinstance(node, ast.Global) or (changed(node) & kept):
                found += place(module, node)
    assert found + places(keeps_on_the_server) == []


def containers(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case (
                ast.Assign(targets=[target], value=value)
                | ast.AnnAssign(target=target, value=value)
            ) if isinstance(value, ast.Dict | ast.List | ast.Set) or name_of(value) in CONTAINERS:
                if node in tree.body:
                    yield name_of(target)


def changed(node: ast.AST) -> set[str]:
    match node:
        case ast.Call(func=ast.Attribute(attr=verb, value=value)) if verb in CHANGING:
            return {name_of(value)}
        case ast.Subscript(value=value, ctx=ast.Store() | ast.Del()):
            return {name_of(value)}
    return set()


def keeps_on_the_server(node: ast.AST) -> bool:
    """Whether a server's method other than __init__ writes to `self`."""
    if not (isinstance(node, ast.ClassDef) and any("Server" in name_of(b) for b in node.bases)):
        return False
    for method in node.body:
        if getattr(method, "name", "__init__") == "__init__":
            continue
        for part in ast.walk(method):
            match part:
                case ast.Attribute(value=ast.Name(id="self"), ctx=ast.Store()):
                    return True
                case ast.Subscript(value=ast.Attribute(value=ast.Name(id="self")), ctx=ast.Store()):
                    return True
    return False


def test_no_key_is_in_the_code() -> None:
    """It would be in git for ever: keys are in the environment and in .env."""

    def is_wrong(node: ast.AST) -> bool:
        match node:
            case ast.Constant(value=str(text)) if SECRETS.search(text):
                return True
            case ast.keyword(arg=str(name), value=ast.Constant(value=str(text))):
                return bool(SECRET_NAMES.search(name)) and len(text) >= 12 and " " not in text
            case ast.Assign(targets=[target], value=ast.Constant(value=str(text))):
                named = SECRET_NAMES.search(name_of(target))
                return bool(named) and len(text) >= 12 and " " not in text
        return False

    assert places(is_wrong) == []


def test_the_model_is_told_the_newest_items() -> None:
    """A limit on items in ascending order gives the first ones, for ever the same."""

    def is_wrong(node: ast.AST) -> bool:
        if not (isinstance(node, ast.Call) and name_of(node) == "load_thread_items"):
            return False
        given = [*node.args, *(keyword.value for keyword in node.keywords)]
        return any(isinstance(value, ast.Constant) and value.value == "asc" for value in given)

    assert places(is_wrong) == []


def test_a_tool_takes_the_person_from_the_context() -> None:
    """An argument is the model's word, and so the word of whoever wrote to it."""
    found = []
    for module, function in functions():
        assert isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        is_tool = any(name_of(each) == "function_tool" for each in function.decorator_list)
        if is_tool and IDENTITY & {argument.arg for argument in function.args.args}:
            found += place(module, function)
    assert found == []


def test_values_in_a_widget_are_escaped() -> None:
    """A .widget file is JSON made from text: a quote in a bare value breaks or injects it."""
    found = []
    for path in sorted(APP.rglob("*.widget")):
        template = json.loads(path.read_text(encoding="utf-8"))["template"]
        for value in re.findall(r"\{\{(.*?)\}\}", template, re.DOTALL):
            if not re.search(r"\|\s*tojson\s*-?$", value.strip()):
                found.append(f"{path.name}: {value.strip()}")
    assert found == []


def test_ids_are_made_by_the_store() -> None:
    """The store's are unguessable, unique in the thread, and sort by creation."""

    def is_wrong(node: ast.AST) -> bool:
        if not (isinstance(node, ast.Call) and name_of(node).endswith("Item")):
            return False
        by_hand = (ast.Constant, ast.JoinedStr, ast.BinOp)
        made = [keyword.value for keyword in node.keywords if keyword.arg == "id"]
        return any(isinstance(m, by_hand) or name_of(m).startswith(("uuid", "str")) for m in made)

    assert places(is_wrong) == []


def test_times_carry_no_zone() -> None:
    """ChatKit's times are naive; one with a zone cannot be compared with them."""

    def is_wrong(node: ast.AST) -> bool:
        match node:
            case ast.keyword(arg="created_at", value=ast.Call() as call):
                return bool(call.args or call.keywords) and name_of(call) == "now"
        return False

    assert places(is_wrong) == []


def test_nothing_blocks_the_loop() -> None:
    """A call that waits without `await` stops every other stream of the process."""
    found = []
    for module, function in functions():
        if isinstance(function, ast.AsyncFunctionDef):
            for node in ast.walk(function):
                match node:
                    case ast.Call(func=ast.Attribute(attr=verb, value=ast.Name(id=owner))):
                        if (owner, verb) in BLOCKING:
                            found += place(module, node)
    assert found == []


def test_no_middleware_takes_the_stream_apart() -> None:
    """BaseHTTPMiddleware copies each piece through a queue: streams get slow, and a Stop late."""

    def is_wrong(node: ast.AST) -> bool:
        match node:
            case ast.ImportFrom(names=names):
                return any(alias.name == "BaseHTTPMiddleware" for alias in names)
            case ast.Call(func=ast.Attribute(attr="middleware")):
                return True  # @app.middleware("http") is one
        return False

    assert places(is_wrong, everywhere=True) == []
