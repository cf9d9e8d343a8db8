"""Copying into a folder that has code already, and mounting into an application that exists."""

import json
import os
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import yaml
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from .rendering import COPIER, commit, render, run, tree
from .test_command_line import answer, spawn
from .test_process import CREATE, events_of, serving
from .warm import stand_in

Files = dict[str, str]


def write(folder: Path, files: Files) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def compose(image: str) -> str:
    return yaml.safe_dump({"services": {"one": {"image": image}, "two": {"build": "."}}})


def package(**dependencies: str) -> str:
    return json.dumps({"name": "web", "dependencies": dependencies}, indent=2)


# What is seen

# Locks of a repository whose parts have a package.json each, as the tools write them.
PNPM_LOCK = """lockfileVersion: '9.0'

importers:

  apps/web:
    dependencies:
      better-auth:
        specifier: ^1.7.0
        version: 1.7.6(react@19.2.0)

packages:

  better-auth@1.7.6:
    resolution: {integrity: sha512-AA==}
"""
# As pnpm writes it where it is pinned itself, or configured by packages.
TWO_LOCKS = f"---\nlockfileVersion: '9.0'\n---\n{PNPM_LOCK}"
PINNED = json.dumps({"name": "web", "packageManager": "pnpm@12.21.0"}, indent=2)
CONFIGURED = "configDependencies:\n  is-number: 7.0.0\n"
INSTALLED = "node_modules/better-auth/package.json"
NPM_LOCK = json.dumps({"packages": {"": {}, "node_modules/better-auth": {"version": "1.7.6"}}})
BUN_LOCK = """{
  "lockfileVersion": 1,
  "packages": {
    "better-auth": ["better-auth@1.7.6", "", { "dependencies": { "jose": "^6" } }, "sha512-AA=="],
  },
}
"""
BETTER_AUTH = {"package.json": package(**{"better-auth": "^1.7", "next": "16"})}


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({}, {"auth": "anonymous", "store": "memory"}),
        (BETTER_AUTH, {"auth": "jwt"}),
        ({"web/node_modules/better-auth/package.json": "{}"}, {"auth": "jwt"}),
        ({"pnpm-lock.yaml": PNPM_LOCK}, {"auth": "jwt"}),
        ({f"node_modules/.pnpm/better-auth@1.7.6/{INSTALLED}": "{}"}, {"auth": "jwt"}),
        ({"package.json": package(), "package-lock.json": NPM_LOCK}, {"auth": "jwt"}),
        ({"bun.lock": BUN_LOCK}, {"auth": "jwt"}),
        ({"package.json": package(**{"@clerk/nextjs": "6"})}, {"auth": "jwt"}),
        ({"supabase/config.toml": ""}, {"auth": "jwt"}),
        ({"compose.yaml": compose("quay.io/keycloak/keycloak:26")}, {"auth": "jwt"}),
        ({"compose.yml": compose("quay.io/oauth2-proxy/oauth2-proxy")}, {"auth": "header"}),
        ({"docker-compose.yml": compose("postgres:17")}, {"store": "postgres"}),
        ({"compose.yaml": compose("pgvector/pgvector:pg17")}, {"store": "postgres"}),
        ({"server/alembic/env.py": ""}, {"store": "postgres"}),
        (BETTER_AUTH | {"alembic.ini": ""}, {"auth": "jwt", "store": "postgres"}),
        # What says nothing, or cannot be read, changes nothing and stops nothing.
        ({"package.json": package(react="19")}, {"auth": "anonymous"}),
        ({"pnpm-lock.yaml": "packages:\n  better-authority@1.0.0: {}\n"}, {"auth": "anonymous"}),
        ({"svelte.config.js": "", "package-lock.json": "{\n\t}"}, {"auth": "anonymous"}),
        ({"package.json": PINNED, "pnpm-lock.yaml": TWO_LOCKS}, {"auth": "anonymous"}),
        ({"pnpm-workspace.yaml": CONFIGURED, "pnpm-lock.yaml": TWO_LOCKS}, {"auth": "anonymous"}),
        ({"package.json": "[]", "compose.yaml": ""}, {"auth": "anonymous", "store": "memory"}),
        ({"compose.yaml": "services: [redis]\n"}, {"store": "memory"}),
        ({"compose.yaml": compose("redis:8")}, {"store": "memory"}),
        ({"svelte.config.js": "", "package.json": '{\n\t"a": 1\n}'}, {"auth": "anonymous"}),
        ({".env.example": "# c\nDATABASE_URL=postgresql://x\n# d\nA=1\n"}, {"store": "memory"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else None,
)
def test_defaults_follow_what_the_folder_has(
    template: Path, tmp_path: Path, files: Files, wanted: Files
) -> None:
    project = render(template, write(tmp_path / "shop", files), {})
    answers = yaml.safe_load((project / ".copier-answers.yml").read_text())
    assert answers.items() >= wanted.items()


@pytest.mark.parametrize("name", ["compose.yml", "docker-compose.yml"])
def test_a_compose_file_of_another_name_is_not_put_in_the_shade(
    template: Path, tmp_path: Path, name: str
) -> None:
    """Docker would read compose.yaml and not the other."""
    shop = write(tmp_path / "shop", {name: compose("redis:8")})
    project = render(template, shop, {"level": "production"})
    assert not (project / "compose.yaml").exists()
    assert (project / "Dockerfile").exists()


def test_the_question_says_what_was_seen_and_every_file_is_asked_about(
    template: Path, tmp_path: Path
) -> None:
    here = BETTER_AUTH | {"compose.yaml": compose("postgres:17"), "README.md": "Ours.\n"}
    shop = write(tmp_path / "shop", here)
    terminal = spawn(shop, str(COPIER), "copy", str(template), ".")
    terminal.expect("the template may have files of these names: compose.yaml, README.md")
    for asked, keys in (
        ("What is the project called?", "\r"),
        ("How much should the backend do?", "\r"),
        ("(Better Auth in package.json: jwt fits)", "\r"),
        ("(PostgreSQL in compose.yaml: postgres fits)", "\r"),
        ("Which service runs the model?", "\r"),
        ("Which model, by name?", "\r"),
        ("Overwrite README.md?", "n"),
    ):
        answer(terminal, asked, keys)
    terminal.expect("is ready")
    terminal.close()
    assert (shop / "README.md").read_text() == "Ours.\n"
    assert (shop / "app" / "core" / "auth" / "jwt").exists()


# What is there already stays

OURS = {"README.md": "Ours.\n", "pyproject.toml": "[project]\n", "app/main.py": "OURS = True\n"}


def test_with_defaults_files_that_are_there_stay_and_are_listed(
    template: Path, tmp_path: Path
) -> None:
    shop = write(tmp_path / "shop", OURS)
    said = run(COPIER, "copy", "--defaults", template, ".", cwd=shop)

    assert "files of these names: app/main.py, pyproject.toml, README.md\n" in said
    assert "stays as it is" in said
    assert tree(shop).items() >= OURS.items()
    assert (shop / "app" / "server.py").exists()
    commit(shop, "Join")
    run(COPIER, "update", "--defaults", cwd=shop)
    assert run("git", "status", "--porcelain", cwd=shop) == ""


def test_a_folder_that_another_template_made_is_refused(template: Path, tmp_path: Path) -> None:
    answers = "_commit: 1\n_src_path: gh:them/theirs\nname: Shop\n"
    shop = write(tmp_path / "shop", {".copier-answers.yml": answers})
    said = run(COPIER, "copy", "--defaults", template, ".", cwd=shop, check=False)
    assert "copy into one below it, as in backend/chat" in said
    assert list(tree(shop)) == [".copier-answers.yml"]
    assert (shop / ".copier-answers.yml").read_text() == answers


def test_nothing_is_listed_where_nothing_is_taken(template: Path, tmp_path: Path) -> None:
    said = run(COPIER, "copy", "--defaults", template, "shop", cwd=tmp_path)
    assert "Here already" not in said
    assert "conflict" not in said


def test_a_recopy_never_leaves_the_templates_files_out_without_a_word(
    template: Path, tmp_path: Path
) -> None:
    project = render(template, tmp_path / "p", {"level": "hello"})
    (project / "app" / "main.py").write_text("broken")
    commit(project, "Break")
    assert "--overwrite" in run(COPIER, "recopy", "--defaults", cwd=project, check=False)
    run(COPIER, "recopy", "--defaults", "--overwrite", cwd=project)
    assert "create_app" in (project / "app" / "main.py").read_text()


# Three applications

BARE = {
    "main.py": """
from fastapi import FastAPI

app = FastAPI(
    title="Shop",
)

@app.get("/health")
async def health():
    return {"host": "bare"}
"""
}
OWN_APP = {
    "app/__init__.py": "",
    "app/settings.py": "SETTINGS = {'host': 'own app'}\n",
    "app/routes.py": """
from fastapi import APIRouter, Request
from .settings import SETTINGS

router = APIRouter()

@router.get("/health")
async def health(request: Request):
    return SETTINGS | {"began": request.app.state.began}
""",
    "app/main.py": """
from contextlib import asynccontextmanager
from fastapi import FastAPI
from app.routes import router

@asynccontextmanager
async def lifespan(app):
    app.state.began = True
    yield
    print("the host ended", flush=True)

def create_app():
    api = FastAPI(lifespan=lifespan)
    api.include_router(router)
    return api

app = create_app()
""",
}
SESSIONS = {
    "shop/__init__.py": "",
    "shop/main.py": """
import fastapi
from fastapi import Request, Response
from starlette.middleware.sessions import SessionMiddleware

app: fastapi.FastAPI = fastapi.FastAPI()
app.add_middleware(SessionMiddleware, secret_key="shop")

@app.get("/health")
async def health():
    return {"host": "sessions"}

@app.post("/sign-in/{name}")
async def sign_in(name: str, request: Request):
    request.session["user"] = name

@app.post("/sign-out")
async def sign_out(request: Request):
    request.session.clear()

@app.get("/me")
async def me(request: Request, response: Response):
    user = request.session.get("user")
    response.status_code = 200 if user else 401
    return {"user": {"id": user}} if user else None
""",
}


def told(project: Path, home: str = "") -> str:
    """What hooks/post_gen.py says of the code around."""
    code = "import sys; sys.path.insert(0, 'hooks'); import inspect_host as host"
    code += "; print(host.describe())"
    return run(stand_in(), "-c", code, cwd=project, HOME=home or os.environ["HOME"])


def join(folder: Path, said: str) -> None:
    """Write the lines that were told at the place that was told."""
    found = re.search(r"of `\w+` in (\S+), line (\d+), write .*\n((?: {8}.*\n)+)", said)
    assert found, said
    file, lines = folder / found[1], [line[8:] for line in found[3].splitlines()]
    text = file.read_text().splitlines()
    at = int(found[2])
    indent = re.match(" *", text[at - 1])
    assert indent
    text[at:at] = [("" if text[at - 1] == ")" else indent[0]) + line for line in lines]
    file.write_text("\n".join(text) + "\n")


def chat_with(url: str, **headers: str) -> list[dict[str, Any]]:
    answer = httpx.post(f"{url}/chat/chatkit", json=CREATE, timeout=30, headers=headers)
    assert answer.status_code == 200, answer.text
    return list(events_of(answer))


@pytest.mark.parametrize(
    ("files", "where", "target", "health"),
    [
        (BARE, "chat", "main:app", {"host": "bare"}),
        (OWN_APP, "backend/chat", "app.main:app", {"host": "own app", "began": True}),
    ],
    ids=["bare", "own app"],
)
def test_an_existing_application_mounts_it_by_the_lines_that_are_told(
    template: Path, tmp_path: Path, files: Files, where: str, target: str, health: Any
) -> None:
    host = write(tmp_path / "host", files)
    commit(host, "Before")
    project = render(template, host / where, {"level": "agent"})
    said = told(project)
    join(host, said)

    log = tmp_path / "log"
    with serving(host, log, stand_in(), "-m", "uvicorn", target) as (url, process):
        assert httpx.get(f"{url}/health").json() == health
        assert httpx.get(f"{url}/chat/ready").json() == {"status": "ready"}
        assert "assistant_message" in json.dumps(chat_with(url))
        assert httpx.post(f"{url}/chat/chatkit", content="x").status_code == 415
        process.terminate()
        assert process.wait(15) in (0, -15)  # some uvicorns end by the signal that they were sent
    written = log.read_text()
    assert "Traceback" not in written
    assert ("the host ended" in written) == (files is OWN_APP)
    assert '"GET /health HTTP' in written  # the host's own log stays as it is
    assert written.count("operation=threads.create") == 1


def test_the_log_of_the_application_around_stays_its_own(template: Path, tmp_path: Path) -> None:
    """Also where it is set up after this one was mounted; ours goes where it goes."""
    later = "import logging\nlogging.basicConfig(level=logging.INFO, filename='shop.log')\n"
    host = write(tmp_path / "host", BARE)
    commit(host, "Before")
    join(host, told(render(template, host / "chat", {"level": "agent"})))
    (host / "main.py").write_text((host / "main.py").read_text() + later)
    log = tmp_path / "log"
    with serving(host, log, stand_in(), "-m", "uvicorn", "main:app") as (url, _):
        chat_with(url)
    assert "threads.create" in (host / "shop.log").read_text()
    assert "threads.create" not in log.read_text()


def test_a_logger_that_is_called_app_stays_the_hosts(template: Path, tmp_path: Path) -> None:
    host = write(tmp_path / "host", OWN_APP)
    commit(host, "Before")
    main, routes = host / "app" / "main.py", host / "app" / "routes.py"
    own = "\n".join(
        [
            "import logging",
            "own = logging.getLogger('app')",
            "own.addHandler(logging.FileHandler('own.log'))",
            "own.propagate = False",
            "own.setLevel('INFO')",
        ]
    )
    main.write_text(f"{own}\n{main.read_text()}")
    said = "\n    import logging\n    logging.getLogger(__name__).info('a word of the host')\n"
    routes.write_text(
        routes.read_text().replace("(request: Request):\n", f"(request: Request):{said}")
    )
    join(host, told(render(template, host / "backend/chat", {"level": "agent"})))
    log = tmp_path / "log"
    with serving(host, log, stand_in(), "-m", "uvicorn", "app.main:app") as (url, _):
        chat_with(url)
    assert "a word of the host" in (host / "own.log").read_text()
    assert "threads.create" not in (host / "own.log").read_text()
    assert "operation=threads.create" in log.read_text()


def test_the_schema_is_applied_also_where_app_is_the_hosts(
    template: Path, tmp_path: Path, postgres: str
) -> None:
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE DATABASE mounted")
    database = {"DATABASE_URL": make_conninfo(postgres, dbname="mounted")}
    host = write(tmp_path / "host", OWN_APP)
    commit(host, "Before")
    project = render(template, host / "backend/chat", {"level": "agent", "store": "postgres"})
    join(host, told(project))
    command = (stand_in(), "-m", "uvicorn", "app.main:app")
    with serving(host, tmp_path / "log", *command, **database) as (url, _):
        assert httpx.get(f"{url}/chat/ready").json() == {"status": "ready"}
        assert "assistant_message" in json.dumps(chat_with(url))


def test_a_schema_of_its_own_keeps_it_apart_from_the_hosts_tables(
    template: Path, tmp_path: Path, postgres: str
) -> None:
    """By the DATABASE_URL that is told; the host has a schema of Alembic's too."""
    own = make_conninfo(postgres, dbname="shared")
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE DATABASE shared")
    with psycopg.connect(own, autocommit=True) as connection:
        connection.execute("CREATE TABLE alembic_version AS SELECT 'f3a9c2e17b64' AS version_num")
        connection.execute("CREATE SCHEMA chat")
    given = conninfo_to_dict(own)
    user, where = given["user"], f"host={given['host']}&port={given.get('port', 5432)}"
    url = f"postgresql:///shared?user={user}&{where}&options=-csearch_path%3Dchat"
    project = render(template, tmp_path / "chat", {"level": "agent", "store": "postgres"})
    said = run(stand_in(), "-m", "alembic", "upgrade", "head", cwd=project, DATABASE_URL=url)
    assert "FAILED" not in said
    with psycopg.connect(own) as connection:
        found = "SELECT schemaname FROM pg_tables WHERE tablename IN ('alembic_version', 'items')"
        assert sorted(connection.execute(found).fetchall()) == [("chat",), ("chat",), ("public",)]


def test_the_cookie_of_an_applications_session_is_let_in(template: Path, tmp_path: Path) -> None:
    host = write(tmp_path / "host", SESSIONS)
    commit(host, "Before")
    project = render(template, host / "chat", {"level": "agent", "auth": "session"})
    said = told(project)
    assert "a session cookie (SessionMiddleware), in shop/main.py, line 4." in said
    join(host, said)

    log, command = tmp_path / "log", (stand_in(), "-m", "uvicorn", "shop.main:app")
    settings = {"SESSION_URL": "http://127.0.0.1:{port}/me", "SESSION_COOKIE": "session"}
    with serving(host, log, *command, **settings, SESSION_CACHE_SECONDS="0") as (url, _):
        cookie = httpx.post(f"{url}/sign-in/ada").headers["set-cookie"].partition(";")[0]
        assert httpx.get(f"{url}/me", headers={"cookie": cookie}).json() == {"user": {"id": "ada"}}
        assert "assistant_message" in json.dumps(chat_with(url, cookie=cookie, origin=url))
        for stranger in ({}, {"cookie": "session=made-up"}, {"cookie": cookie[:-1]}):
            answer = httpx.post(
                f"{url}/chat/chatkit", json=CREATE, headers={"origin": url, **stranger}
            )
            assert answer.status_code == 401
    assert "Traceback" not in log.read_text()


# What else is told

SHOP = "from fastapi import FastAPI\napp = FastAPI()\n"


@pytest.fixture(scope="module")
def joined(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a project in it; tests write what is there beside it."""
    folder = tmp_path_factory.mktemp("joined") / "repository"
    render(template, folder / "chat", {"level": "hello"})
    commit(folder, "Chat")
    return folder


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({}, ["nothing else is here"]),
        (
            {
                "api/talk.py": "from chatkit.server import ChatKitServer\n\n"
                "class Talk(ChatKitServer[dict]):\n    pass\n",
                "api/kept.py": "from chatkit import store\nclass Kept(store.Store[dict]): ...\n",
                "api/main.py": "import fastapi as f\napp = f.FastAPI()\n@app.post('/api/chatkit')\n"
                "async def chat(): ...\n",
            },
            [
                "Another ChatKit server is here: Talk in api/talk.py, line 3; "
                "/api/chatkit in api/main.py, line 3.",
                "its store (Kept in api/kept.py, line 2) with docs/stores.md",
                "To answer at /chat/chatkit of `app` in api/main.py, line 2",
                "from chat.app.mount import mount_on",
            ],
        ),
        (
            {"auth.py": "from fastapi.security import HTTPBearer\n"},
            ["by bearer tokens (HTTPBearer), in auth.py, line 1.", "--data auth=jwt"],
        ),
        (
            {"auth.py": "COOKIE = 'better-auth.session_token'\n"},
            ["by Better Auth's session cookie, in auth.py, line 1.", "--data auth=session"],
        ),
        (
            {"auth.py": "COOKIE = '__Secure-better-auth.session_token'\n"},  # its name on https
            ["by Better Auth's session cookie, in auth.py, line 1."],
        ),
        (
            {"auth.py": "import fastapi.security\nb = fastapi.security.HTTPBearer()\n"},
            ["by bearer tokens (HTTPBearer), in auth.py, line 2."],
        ),
        (
            {"auth.py": "import jwt\nwho = jwt.decode(token, KEY, algorithms=['RS256'])\n"},
            ["by JSON Web Tokens (jwt.decode), in auth.py, line 2.", "--data auth=jwt"],
        ),
        (
            {".env.example": "# The database.\nDATABASE_URL=postgresql://db/shop\n"},
            [
                ".env.example has a DATABASE_URL of PostgreSQL",
                "--data store=postgres",
                "a database of its own, or a schema (after CREATE SCHEMA chat, "
                "DATABASE_URL=...?options=-csearch_path%3Dchat)",
            ],
        ),
        (
            {"main.py": "from fastapi import FastAPI\ndef create_app():\n    return FastAPI()\n"},
            ["FastAPI() in main.py, line 3 has no name of its own", "run this again"],
        ),
        (
            {"main.py": "class Shop:\n    def __init__(self):\n        self.app = FastAPI()\n"},
            ["of `self.app` in main.py, line 3", 'mount_on(self.app, "/chat")'],
        ),
        (
            {"main.py": "app.add_api_route('/api/chatkit', chat, methods=['POST'])\n"},
            ["Another ChatKit server is here: /api/chatkit in main.py, line 1."],
        ),
        (
            {
                "main.py": "app = create_app()\nmount_on(app, '/chat')\n",
                "made.py": "def create_app():\n    return FastAPI()\n",
            },
            ["nothing else is here"],
        ),
        # Who asks for a path does not answer there.
        (
            {"smoke.py": "httpx.post('https://chat.example.com/chatkit')\n"},
            ["nothing else is here"],
        ),
        ({"proxy.py": "mine = path.startswith('/chatkit')\n"}, ["nothing else is here"]),
        # Imports reach another folder than the host's own does.
        (
            {"src/shop/__init__.py": "", "src/shop/main.py": SHOP},
            ["from chat.app.mount import mount_on", "on PYTHONPATH, from where these lines import"],
        ),
        ({"main.py": SHOP + "mount_on(app, '/chat')\n"}, ["`app` in main.py mounts this project."]),
        ({"main.py": "\ufeff" + SHOP}, ["To answer at /chat/chatkit of `app` in main.py, line 2"]),
        ({f"a/m{n}.py": "" for n in range(3000)}, ["Only the first 3000 files"]),
        # What cannot be read is passed over, and nothing of it is ever run.
        ({"odd.py": "def (\n", "bad.py": "\x00"}, ["nothing else is here"]),
        ({"run.py": "raise SystemExit('FastAPI')\n"}, ["nothing else is here"]),
    ],
)
def test_what_is_around_is_told(joined: Path, files: Files, wanted: list[str]) -> None:
    write(joined, files)
    try:
        said = told(joined / "chat")
    finally:
        for name in files:
            (joined / name).unlink()
    for text in wanted:
        assert text in said


@pytest.mark.parametrize(
    "mounting",
    ["admin = FastAPI()\napp.mount('/admin', admin)\n", "app.mount('/admin', app=FastAPI())\n"],
)
def test_an_application_that_another_one_mounts_is_not_joined(joined: Path, mounting: str) -> None:
    """Nothing would run its lifespan."""
    write(joined, {"main.py": SHOP + mounting})
    try:
        said = told(joined / "chat")
    finally:
        (joined / "main.py").unlink()
    assert re.findall("main.py, line ([0-9])", said) == ["2"]


@pytest.mark.parametrize(
    ("where", "home", "said"),
    [
        ("backend/chat", "", "To answer at /chat/chatkit of `app` in main.py, line 6"),
        ("services/api/chat", "", "from services.api.chat.app.mount import mount_on"),
        ("a/long/way/below", "", "nothing else is here"),
        ("backend/chat", ".", "nothing else is here"),  # what lies at home belongs to no project
        ("backend/chat", "backend", "nothing else is here"),
    ],
)
def test_a_host_that_is_not_in_git_is_found_close_by(
    template: Path, tmp_path: Path, where: str, home: str, said: str
) -> None:
    host = write(tmp_path / "host", BARE)
    project = render(template, host / where, {"level": "hello"})
    assert said in told(project, home=str(host / home) if home else "")


def commands(said: str, begin: str) -> list[str]:
    return [command for command in re.findall("`([^`]+)`", said) if command.startswith(begin)]


def test_answers_change_by_the_lines_that_are_told_at_the_hosts_root(
    template: Path, tmp_path: Path
) -> None:
    """Which another template may have made."""
    files = {
        "auth.py": "HTTPBearer\n",
        ".env.example": "DATABASE_URL=postgresql://db/shop\n",
        ".copier-answers.yml": "_commit: 1\n_src_path: /no/template\n",
    }
    host = write(tmp_path / "my host", files)
    project = render(template, host / "backend/chat", {"level": "hello"})
    commit(host, "Before")
    found = commands(told(project), "uvx copier update ")
    assert len(found) == 2
    for command in found:
        _, _, *words = shlex.split(command)
        run(COPIER, *words, cwd=host)
        commit(host, "Answer")
    answers = yaml.safe_load((project / ".copier-answers.yml").read_text())
    assert answers.items() >= {"auth": "jwt", "store": "postgres"}.items()


@pytest.mark.parametrize("where", ["", "api"])
def test_a_host_of_uvs_gets_the_dependencies_by_the_line_that_is_told(
    template: Path, tmp_path: Path, where: str
) -> None:
    own = '[project]\nname = "shop"\nversion = "1"\nrequires-python = ">=3.11"\n'
    host = write(tmp_path / "my host", {f"{where}/main.py".lstrip("/"): SHOP})
    write(host / where, {"pyproject.toml": own})
    commit(host, "Before")
    said = told(render(template, host / "backend/chat", {"level": "hello"}))
    [command] = commands(said, "cd ")
    add = command.replace("uv add", "uv add --frozen")  # which asks no registry
    run("sh", "-c", add, cwd=tmp_path, VIRTUAL_ENV="", UV_PYTHON=sys.executable)
    assert "chat-backend" in (host / where / "pyproject.toml").read_text()


@pytest.mark.parametrize("own", ["", "[tool.black]\nline-length = 99\n"])
def test_another_host_gets_the_dependencies_by_the_line_that_is_told(
    template: Path, tmp_path: Path, own: str
) -> None:
    files = {"main.py": SHOP, "requirements.txt": "fastapi\n"} | (
        {"pyproject.toml": own} if own else {}
    )
    commit(write(tmp_path / "my host", files), "Before")
    said = told(render(template, tmp_path / "my host" / "backend/chat", {"level": "hello"}))
    assert "uv add" not in said
    [command] = commands(said, "uv pip install ")
    there = f" --offline --dry-run --python {sys.executable}"  # where they are
    assert "no changes" in run("sh", "-c", command + there, cwd=tmp_path)


@pytest.mark.parametrize("store", ["memory", "postgres"])
def test_that_mounting_needs_a_database_is_told(template: Path, tmp_path: Path, store: str) -> None:
    """The embedded server is a dependency of development, which a host does not get."""
    commit(write(tmp_path / "host", BARE), "Before")
    said = told(render(template, tmp_path / "host/chat", {"level": "hello", "store": store}))
    assert ("Without DATABASE_URL nothing starts there" in said) == (store == "postgres")
    assert ("?options=-csearch_path%3Dchat" in said) == (store == "postgres")


@pytest.mark.parametrize("folder", ["my-chat", "lambda/chat"])
def test_a_name_that_no_import_can_have_is_none(
    template: Path, tmp_path: Path, folder: str
) -> None:
    commit(write(tmp_path / "host", BARE), "Before")
    said = told(render(template, tmp_path / "host" / folder, {"level": "hello"}))
    assert "cannot import this project from where it lies" in said
    assert "run it beside as a service" in said


def test_an_answer_that_is_so_already_is_not_advised(template: Path, tmp_path: Path) -> None:
    commit(write(tmp_path / "host", {"auth.py": "HTTPBearer\n"}), "Before")
    said = told(render(template, tmp_path / "host" / "chat", {"level": "hello", "auth": "jwt"}))
    assert "People are known by bearer tokens (HTTPBearer), in auth.py, line 1." in said
    assert "--data auth" not in said


def test_a_pyproject_that_was_there_before_is_told(template: Path, tmp_path: Path) -> None:
    shop = write(tmp_path / "shop", OURS)
    run(COPIER, "copy", "--defaults", template, ".", cwd=shop)
    assert "pyproject.toml is yours and names no openai-chatkit" in told(shop)


def test_an_answer_that_is_given_spares_the_look_at_what_yaml_cannot_read(
    template: Path, tmp_path: Path
) -> None:
    files = {"package.json": package(**{"better-auth": "1"}).replace("  ", "\t")}
    project = render(template, write(tmp_path / "shop", files), {"auth": "jwt"})
    assert (project / "app" / "core" / "auth" / "jwt").exists()
