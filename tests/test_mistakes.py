"""Each mistake of docs/mistakes.md, made by an owner: the project's own tests have to find it."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import run_forked
from .matrix import ROOT, Answers, combinations, name_of
from .updates import replace

Mistake = Callable[[Path], object]
OURS = '"""Ours."""\n'


def method(code: str) -> Mistake:
    """A mistake in a method of the server."""

    def make(project: Path) -> None:
        server = project / "app" / "server.py"
        lines = "".join(f"    {line}\n" if line else "\n" for line in code.splitlines())
        server.write_text(f"{server.read_text()}\n{lines}")

    return make


def module(code: str) -> Mistake:
    def make(project: Path) -> None:
        number = len(list((project / "app").glob("ours_*.py")))
        (project / "app" / f"ours_{number}.py").write_text(OURS + code)

    return make


def endpoint(old: str, new: str) -> Mistake:
    return lambda project: replace(project / "app" / "endpoint.py", old, new)


def widget(value: str) -> Mistake:
    text = json.dumps({"version": "1.0", "name": "X", "template": f'{{"value": {value}}}'})
    return lambda project: (project / "app" / "x.widget").write_text(text)


ROUTE = """
async def chat(request, server, context):
    result = await server.process({body}, context)
    {rest}
"""
GOOD = "return result if isinstance(result, StreamingResult) else Response(result.json)"
# The test that has to find it: what was done.
MISTAKES: dict[str, list[Mistake]] = {
    "test_process_gets_the_raw_body": [
        endpoint("await request.body()", "await request.json()"),
        module(ROUTE.format(body="json.dumps(await request.json())", rest=GOOD)),
    ],
    "test_what_process_gives_is_told_apart_and_sent_as_it_is": [
        endpoint(
            'Response(result.json, media_type="application/json")', "JSONResponse(result.json)"
        ),
        module(ROUTE.format(body="await request.body()", rest="return Response(result.json)")),
    ],
    "test_the_store_is_used_by_the_server_alone": [
        module(
            "async def all(app, me):\n    return await app.state.server.store.load_threads(me)\n"
        ),
        module("from .store import open_store\n"),
    ],
    "test_no_conversation_is_kept_in_the_process": [
        module("SEEN = {}\n\nasync def see(thread):\n    SEEN[thread.id] = True\n"),
        module("SEEN: list[str] = []\n\ndef see(thread):\n    SEEN.append(thread.id)\n"),
        module("last = None\n\ndef see(thread):\n    global last\n    last = thread.id\n"),
        method("async def see(self) -> None:\n    self.seen = True"),
    ],
    "test_no_key_is_in_the_code": [
        module("client = AsyncOpenAI(api_key='" + "sk-" + "a1b2c3d4e5f6g7h8i9')\n"),
        module("API_TOKEN = 'f3a9c2e17b64'\n"),
        module("URL = 'postgresql://ada:" + "sesame@db.internal/shop'\n"),
    ],
    "test_the_model_is_told_the_newest_items": [
        method(
            "async def past(self, thread, context):\n"
            "    return await self.store.load_thread_items(thread.id, None, 20, 'asc', context)"
        ),
        method(
            "async def past(self, thread, context):\n"
            "    return await self.store.load_thread_items(\n"
            "        thread.id, after=None, limit=20, order='asc', context=context)"
        ),
    ],
    "test_a_tool_takes_the_person_from_the_context": [
        module("@function_tool\nasync def orders(ctx: ToolContext, user_id: str) -> str: ...\n"),
        module("@function_tool()\nasync def orders(ctx: ToolContext, owner: str) -> str: ...\n"),
    ],
    "test_values_in_a_widget_are_escaped": [widget('"{{ name }}"'), widget("{{ name | upper }}")],
    "test_ids_are_made_by_the_store": [
        module("def item(t):\n    return ck.AssistantMessageItem(id='msg_1', thread_id=t)\n"),
        module("def item(t):\n    return ck.HiddenContextItem(id=f'msg_{t}', thread_id=t)\n"),
        module("def item(t):\n    return ck.WidgetItem(id=str(uuid.uuid4()), thread_id=t)\n"),
    ],
    "test_times_carry_no_zone": [
        module("def item(t):\n    return ck.WidgetItem(created_at=datetime.now(UTC))\n"),
    ],
    "test_nothing_blocks_the_loop": [
        module("async def wait():\n    time.sleep(1)\n"),
        module("async def ask(url):\n    return requests.get(url)\n"),
    ],
    "test_no_middleware_takes_the_stream_apart": [
        module("from starlette.middleware.base import BaseHTTPMiddleware\n"),
        module("@app.middleware('http')\nasync def around(request, call_next): ...\n"),
    ],
}
MOST = max(map(len, MISTAKES.values()))


LEVELS: dict[str, Answers] = {answers["level"]: answers for answers in combinations()}


@pytest.fixture(scope="module")
def found(
    projects: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, int], str]:
    """What the tests of each level's project say when its owner makes the first mistake of each
    kind, the second, …, and, at the end, none.
    """
    folder, made = tmp_path_factory.mktemp("mistakes"), list[Path]()
    for level, answers in LEVELS.items():
        for at in range(MOST + 1):
            project = shutil.copytree(
                projects[name_of(answers)],
                folder / f"{level}-{at}",
                ignore=shutil.ignore_patterns("__pycache__"),
            )
            made.append(project)
            for mistakes in MISTAKES.values():
                for mistake in mistakes[at : at + 1]:
                    mistake(project)
    chosen = ("--with", "--noconftest tests/test_mistakes.py")  # the code is read, never run
    reports = run_forked("", *chosen, *made)
    return {
        (level, int(at)): report["output"]
        for name, report in reports.items()
        for level, at in [name.split("-")]
    }


@pytest.mark.parametrize("at", range(MOST))
@pytest.mark.parametrize("level", LEVELS)
def test_a_mistake_is_found_by_its_test(
    found: dict[tuple[str, int], str], level: str, at: int
) -> None:
    failed = re.findall(r"^_+ (test_\w+) _+$", found[level, at], re.MULTILINE)
    assert failed == [name for name, made in MISTAKES.items() if made[at:]], found[level, at]


@pytest.mark.parametrize("level", LEVELS)
def test_a_project_without_mistakes_passes(found: dict[tuple[str, int], str], level: str) -> None:
    assert f"{len(MISTAKES)} passed" in found[level, MOST]


def test_each_test_of_mistakes_has_its_row_and_its_mistake() -> None:
    source = (ROOT / "template" / "tests" / "test_mistakes.py").read_text()
    written = set(re.findall(r"^def (test_\w+)", source, re.MULTILINE))
    table = (ROOT / "template" / "docs" / "mistakes.md.jinja").read_text()
    assert written == set(MISTAKES)
    assert written == set(re.findall(r"`(test_\w+)` \|$", table, re.MULTILINE))
