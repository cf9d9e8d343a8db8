"""The mistakes of docs/mistakes.md, each looked for in the application's own code.

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

APP = Path(__file__).resolve().parents[2] / "app"
RIGHT = "# not a mistake"
BLOCKING = {
    "time.sleep",
    "psycopg.connect",
    "sqlite3.connect",
    "subprocess.run",
    *(f"{module}.{verb}" for module in ("requests", "httpx") for verb in ("get", "post", "put")),
}
SENDING = {"JSONResponse", "ORJSONResponse", "UJSONResponse"}
CHANGING = {"append", "add", "update", "setdefault", "pop", "extend", "insert", "clear", "remove"}
CONTAINERS = {"dict", "list", "set", "defaultdict", "deque", "OrderedDict", "Counter"}
# A name and its value; the name of an address or of a place in a dictionary is no secret.
NAMED_SECRETS = re.compile(
    r"((secret|password)|(key|secret|token|password)\w*(?==\S*\d))=(?!/|\w+://)\S{12,}$",
    re.IGNORECASE,
)
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
        is_owners = path.relative_to(APP).parts[0] != "core"
        found.append(Module(path, text.splitlines(), ast.parse(text), is_owners))
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
    """Where it is; nothing where its line, the first or the last, says that it is meant so."""
    line: int = getattr(node, "lineno", 1)
    last = (node.end_lineno if isinstance(node, ast.expr) else None) or line
    is_meant = any(RIGHT in module.lines[at - 1] for at in (line, last))
    return [] if is_meant else [f"{module.path.relative_to(APP.parent).as_posix()}:{line}"]


def name_of(node: ast.AST | None) -> str:
    """The last part of a dotted name."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call(func=inner) | ast.Subscript(value=inner):
            return name_of(inner)
    return ""


def given_names(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """The names that are assigned here, each with what it stands for."""
    match node:
        case ast.Assign(targets=targets, value=value):
            for target in targets:
                match target, value:
                    case ast.Tuple(elts=several), ast.Tuple(elts=values):
                        yield from zip(map(name_of, several), values, strict=False)
                    case ast.Name() | ast.Attribute(), _:
                        yield name_of(target), value
        case ast.AnnAssign(target=target, value=ast.expr() as value):
            yield name_of(target), value


def own_names(function: ast.AST) -> set[str]:
    """The names that mean something of the function's own, not the module's."""
    nodes = list(ast.walk(function))
    shared = {name for node in nodes if isinstance(node, ast.Global) for name in node.names}
    names = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return (names | {n.arg for n in nodes if isinstance(n, ast.arg)}) - shared


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

    found = []
    for module in filter(lambda module: module.is_owners, modules()):
        makes_one = any(getattr(n, "name", "") == "open_store" for n in module.tree.body)
        for node in ast.walk(module.tree):
            match node:
                case ast.Attribute(attr="store", value=value) if name_of(value) == "server":
                    found += place(module, node)
                case ast.ImportFrom(names=names) if not makes_one:  # one that wraps another may
                    opened = any(alias.name == "open_store" for alias in names)
                    found += place(module, node) if opened else []
    assert found == []


def test_no_conversation_is_kept_in_the_process() -> None:
    """Another process does not have it, a restart forgets it, and everybody shares it."""
    found = []
    for module in modules():
        if module.is_owners:
            kept = {
                name
                for node in module.tree.body
                for name, value in given_names(node)
                if is_container(value)
            }
            for node in [*changes(module.tree, kept), *changes_of_servers(module.tree)]:
                found += place(module, node)
    assert found == []


def is_container(value: ast.expr) -> bool:
    literals = ast.Dict | ast.List | ast.Set | ast.DictComp | ast.ListComp | ast.SetComp
    return isinstance(value, literals) or name_of(value) in CONTAINERS


def changes(node: ast.AST, kept: set[str], inside: bool = False) -> Iterator[ast.AST]:
    """Where functions change what the module keeps under these names."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        kept, inside = kept - own_names(node), True
    match changed(node):
        case ast.Name(id=name) if inside and name in kept:
            yield node
    if isinstance(node, ast.Global):
        yield node
    for part in ast.iter_child_nodes(node):
        yield from changes(part, kept, inside)


def changed(node: ast.AST) -> ast.AST | None:
    """What is changed here, if anything is: `seen` in `seen[1]["a"].append(2)`."""
    match node:
        case ast.Call(func=ast.Attribute(attr=verb, value=inner)) if verb in CHANGING:
            pass
        case ast.Subscript(value=inner, ctx=ast.Store() | ast.Del()):
            pass
        case _:
            return None
    while isinstance(inner, ast.Subscript):
        inner = inner.value
    return inner


def changes_of_servers(tree: ast.Module) -> Iterator[ast.AST]:
    """Where a server's methods other than __init__ write to `self`, or to a container of its."""
    for server in ast.walk(tree):
        if isinstance(server, ast.ClassDef) and any("Server" in name_of(b) for b in server.bases):
            methods = [part for part in server.body if hasattr(part, "name")]
            made = [part for part in methods if part.name == "__init__"]
            nodes = [*server.body, *(node for method in made for node in ast.walk(method))]
            given = [each for node in nodes for each in given_names(node)]
            others = {name for name, value in given if not is_container(value)}
            for method in methods:
                if method not in made:
                    yield from changes_of_self(method, others)


def changes_of_self(method: ast.AST, others: set[str]) -> Iterator[ast.AST]:
    """`others` are no containers: what is called update there may be anything."""
    nodes = list(ast.walk(method))
    waited = [node.value for node in nodes if isinstance(node, ast.Await)]
    for node in nodes:
        match node, changed(node):
            case ast.Attribute(value=ast.Name(id="self"), ctx=ast.Store()), _:
                yield node
            case ast.Subscript(), ast.Attribute(value=ast.Name(id="self")):
                yield node
            case ast.Call(), ast.Attribute(attr=name, value=ast.Name(id="self")):
                if name not in others and node not in waited:
                    yield node


def test_no_key_is_in_the_code() -> None:
    """It would be in git for ever: keys are in the environment and in .env."""

    def is_wrong(node: ast.AST) -> bool:
        match node:
            case ast.Constant(value=str(text)):
                return bool(SECRETS.search(text))
            case ast.keyword(arg=str(name), value=value):
                given = [(name, value)]
            case _:
                given = [*given_names(node)]
        return any(NAMED_SECRETS.search(f"{name}={text_of(value)}") for name, value in given)

    assert places(is_wrong) == []


def text_of(value: ast.AST) -> str:
    """The text of a constant, also as SecretStr or as the default of a Field."""
    match value:
        case ast.Constant(value=str(text)):
            return text
        case ast.Call(args=[inner]) if name_of(value) in ("SecretStr", "Field"):
            return text_of(inner)
        case ast.Call(keywords=keywords) if name_of(value) == "Field":
            return "".join(text_of(each.value) for each in keywords if each.arg == "default")
    return ""


def test_the_model_is_told_the_newest_items() -> None:
    """A limit on items in ascending order gives the first ones, for ever the same."""
    found = []
    for module, function in functions():
        own = own_names(function)
        named = [
            *((n, v) for node in module.tree.body for n, v in given_names(node) if n not in own),
            *((n, v) for node in ast.walk(function) for n, v in given_names(node)),
        ]
        others = {name for name, value in named if text_of(value) != "asc"}
        others |= {node.arg for node in ast.walk(function) if isinstance(node, ast.arg)}
        ascending = {name for name, _ in named} - others
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and name_of(node) == "load_thread_items":
                given = [*node.args, *(keyword.value for keyword in node.keywords)]
                if any(text_of(v) == "asc" or name_of(v) in ascending for v in given):
                    found += place(module, node)
    assert found == []


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
    """A widget's template is JSON made from text: a quote in a bare value breaks or injects it."""
    found = []
    for path in sorted(APP.rglob("*.widget")):
        template = json.loads(path.read_text(encoding="utf-8"))["template"]
        found += [f"{path.name}: {value}" for value in bare_values(template)]

    def is_wrong(node: ast.AST) -> bool:
        text = text_of(node)
        return bool(re.search(r'"type"\s*:', text)) and any(bare_values(text))

    assert found + places(is_wrong) == []


def bare_values(template: str) -> Iterator[str]:
    for value in re.findall(r"\{\{(.*?)\}\}", template, re.DOTALL):
        if not re.search(r"\|\s*tojson\s*-?$", value.strip()):
            yield value.strip()


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
        imported = dict(imports(module.tree))
        if isinstance(function, ast.AsyncFunctionDef):
            for node in own_nodes(function):
                if isinstance(node, ast.Call):
                    first, dot, rest = ast.unparse(node.func).partition(".")
                    if f"{imported.get(first, '')}{dot}{rest}" in BLOCKING:
                        found += place(module, node)
    assert found == []


def imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """The names that are imported, each with what it stands for: `pause`, `time.sleep`."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((alias.asname or alias.name, alias.name) for alias in names)
            case ast.ImportFrom(module=str(module), names=names, level=0):
                yield from ((each.asname or each.name, f"{module}.{each.name}") for each in names)


def own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """What a function does itself: one that it makes may be run in a thread."""
    for part in ast.iter_child_nodes(node):
        if not isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield part
            yield from own_nodes(part)


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
