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
    return lambda project: replace(project / "app" / "core" / "http" / "endpoint.py", old, new)


WIDGET = """
TEXT = '{{"type": "Card", "children": [{{"type": "Text", "value": {value}}}]}}'
DOOR = WidgetTemplate({{"version": "1.0", "name": "Door", "template": TEXT}})
"""


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
        module("from .core.store import open_store\n"),
        module(
            "async def all(request, me):\n"
            "    server = request.app.state.server\n"
            "    return await server.store.load_threads(20, None, 'desc', me)\n"
        ),
    ],
    "test_no_conversation_is_kept_in_the_process": [
        module("SEEN = {}\n\nasync def see(thread):\n    SEEN[thread.id] = True\n"),
        module("SEEN: list[str] = []\n\ndef see(thread):\n    SEEN.append(thread.id)\n"),
        module("last = None\n\ndef see(thread):\n    global last\n    last = thread.id\n"),
        method("async def see(self) -> None:\n    self.seen = True"),
        module(
            "SEEN = defaultdict(list)\n\ndef see(thread):\n    SEEN[thread.id].append(thread)\n"
        ),
        module("SEEN = dict[str, int]()\n\ndef see(thread):\n    SEEN[thread.id] += 1\n"),
        method("async def see(self, thread) -> None:\n    self.seen.append(thread.id)"),
        method("async def see(self, thread) -> None:\n    self.seen.setdefault(1, []).append(2)"),
        method("async def see(self, thread) -> None:\n    self.seen[thread.id].append(1)"),
        method("async def see(self, seen) -> None:\n    seen = seen.id\n    self.seen.add(seen)"),
    ],
    "test_no_key_is_in_the_code": [
        module("client = AsyncOpenAI(api_key='" + "sk-" + "a1b2c3d4e5f6g7h8i9')\n"),
        module("API_TOKEN = 'f3a9c2e17b64'\n"),
        module("URL = 'postgresql://ada:" + "sesame@db.internal/shop'\n"),
        module("API_KEY: str = 'f3a9c2e17b64d8'\n"),
        module("class Shop(Section):\n    shop_api_key: str = 'f3a9c2e17b64d8'\n"),
        module("class Shop(Section):\n    shop_secret: str = 'change-me-please'\n"),
        module("class Shop(Section):\n    shop_key: SecretStr = SecretStr('f3a9c2e17b64d8')\n"),
        module("class Shop(Section):\n    shop_key: str = Field(default='f3a9c2e17b64d8')\n"),
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
        method(
            "async def past(self, thread, context):\n"
            "    order = 'asc'\n"
            "    return await self.store.load_thread_items(thread.id, None, 20, order, context)"
        ),
        module(
            "ORDER: Final = 'asc'\n\nasync def past(store, thread, context):\n"
            "    return await store.load_thread_items(thread.id, None, 20, ORDER, context)\n"
        ),
    ],
    "test_a_tool_takes_the_person_from_the_context": [
        module("@function_tool\nasync def orders(ctx: ToolContext, user_id: str) -> str: ...\n"),
        module("@function_tool()\nasync def orders(ctx: ToolContext, owner: str) -> str: ...\n"),
    ],
    "test_values_in_a_widget_are_escaped": [
        widget('"{{ name }}"'),
        widget("{{ name | upper }}"),
        module(WIDGET.format(value='"{{ name }}"')),
    ],
    "test_ids_are_made_by_the_store": [
        module("def item(t):\n    return ck.AssistantMessageItem(id='msg_1', thread_id=t)\n"),
        module("def item(t):\n    return ck.HiddenContextItem(id=f'msg_{t}', thread_id=t)\n"),
        module("def item(t):\n    return ck.WidgetItem(id=str(uuid.uuid4()), thread_id=t)\n"),
    ],
    "test_times_carry_no_zone": [
        module("def item(t):\n    return ck.WidgetItem(created_at=datetime.now(UTC))\n"),
    ],
    "test_nothing_blocks_the_loop": [
        module("import time\n\nasync def wait():\n    time.sleep(1)\n"),
        module("import requests\n\nasync def ask(url):\n    return requests.get(url)\n"),
        module("from time import sleep\n\nasync def wait():\n    sleep(1)\n"),
        module("import httpx as http\n\nasync def ask(url):\n    return http.post(url)\n"),
    ],
    "test_no_middleware_takes_the_stream_apart": [
        module("from starlette.middleware.base import BaseHTTPMiddleware\n"),
        module("@app.middleware('http')\nasync def around(request, call_next): ...\n"),
    ],
}
MOST = max(map(len, MISTAKES.values()))
# What looks like one of them and is none: an owner who is told so does not read the next one.
RIGHT: list[Mistake] = [
    module("WOODS = ['oak', 'pine']\n\ndef first():\n    return WOODS[0]\n"),
    module("SEEN = []\n\ndef see():\n    SEEN = list()\n    SEEN.append(1)\n    return SEEN\n"),
    module("seen = {}\n\ndef see(seen, thread):\n    seen[thread.id] = seen.pop(1)\n"),
    module("tags = []\n\ndef tag(order):\n    order.tags.append('new')\n"),
    module(
        "seen = set()\n\ndef see():\n    seen = set()\n\n    def one(name):\n"
        "        seen.add(name)\n\n    return one\n"
    ),
    method(
        "def __init__(self, store, settings) -> None:\n"
        "    super().__init__(store, settings)\n"
        "    self.shop, self.desk = Shop(), Desk()\n"
        "    self.orders: Orders = Orders()"
    ),
    method(
        "async def order(self, thread, context) -> list:\n"
        "    seen = []\n    seen.append(thread.id)\n"
        "    self.shop.update(seen)\n    self.desk.orders.add(1)\n    self.orders.pop(1)\n"
        "    await self.elsewhere.update(seen)\n"
        "    self.counted.append(1)  # not a mistake\n"
        "    return seen"
    ),
    module(
        "class Shop(Section):\n"
        "    shop_api_key: str = ''\n"
        "    shop_secret: SecretStr\n"
        "    shop_token: SecretStr | None = None\n"
        "    shop_password: SecretStr = SecretStr('')\n"
        "    shop_key: SecretStr = Field(description='The key of the shop, 32 letters')\n"
        "    token_url: str = 'https://shop.example/oauth2/token'\n"
        "    token_path: str = '/oauth2/v1/token'\n"
        "    key_prefix: str = 'shop:sessions:'\n"
    ),
    module("ORDER_KEY = 'current_order'\n\ndef key(t):\n    return t.metadata[ORDER_KEY]\n"),
    module("KEY = os.environ['SHOP_API_KEY_2']\nrow = Form(key='delivery-address')\n"),
    module(WIDGET.format(value="{{ name | tojson }}")),
    module('TEXT = """\n{"type": "Text", "value": {{ size }}}"""  # not a mistake\n'),
    module("KEYS = {}\nKEYS['order'] = 'orders-of-2026'\n"),
    module("TEXT = 'Dear {{ name }}'\nHTML = '<b class=\"type\">{{ name }}</b>'\n"),
    module(
        "import time\nfrom asyncio import sleep\n\nasync def wait(requests):\n"
        "    def work():\n        time.sleep(1)\n\n"
        "    await sleep(1)\n    await asyncio.to_thread(work)\n"
        "    await asyncio.to_thread(lambda: time.sleep(1))\n    return requests.get(1)\n"
    ),
    method(
        "async def newest(self, thread, context) -> list:\n"
        "    order = 'desc'\n"
        "    page = await self.store.load_thread_items(thread.id, None, 20, order, context)\n"
        "    return [*reversed(page.data)]\n\n"
        "async def sort(self) -> str:\n    order = 'asc'\n    return order\n\n"
        "async def page(self, thread, order, context):\n"
        "    order = order or 'desc'\n    self.log(order='asc')\n"
        "    return await self.store.load_thread_items(thread.id, None, 20, order, context)"
    ),
    module("def shelf(store):\n    return store.name\n\nplace = shop.store\n"),
    module("from .store import open_store as beneath\n\nasync def open_store(settings): ...\n"),
]


LEVELS: dict[str, Answers] = {answers["level"]: answers for answers in combinations()}


@pytest.fixture(scope="module")
def found(
    projects: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, int], str]:
    """What the tests of each level's project say when its owner makes the first mistake of each
    kind, the second, …, and, at the end, none, but what looks like some.
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
            for right in RIGHT if at == MOST else ():
                right(project)
    chosen = ("--with", "--noconftest tests/core/test_mistakes.py")  # the code is read, never run
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
def test_what_looks_like_a_mistake_and_is_none_passes(
    found: dict[tuple[str, int], str], level: str
) -> None:
    assert f"{len(MISTAKES)} passed" in found[level, MOST], found[level, MOST]


def test_each_test_of_mistakes_has_its_row_and_its_mistake() -> None:
    source = (ROOT / "template" / "tests" / "core" / "test_mistakes.py").read_text()
    written = set(re.findall(r"^def (test_\w+)", source, re.MULTILINE))
    table = (ROOT / "template" / "docs" / "mistakes.md.jinja").read_text()
    assert written == set(MISTAKES)
    assert written == set(re.findall(r"`(test_\w+)` \|$", table, re.MULTILINE))
