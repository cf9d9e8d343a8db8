"""The support desk in tests: a model that follows a script, and presses on widgets."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from agents.testing import ScriptedModel, assistant_message, function_call
from chatkit.types import ThreadItem

from app.core.store.base import BaseStore

from ..auth_styles import LIVE
from ..chat import Json, Person
from ..fixtures import RunningServer, serve
from ..stores import fresh

CALL = "call_1"


def script(server: RunningServer, *steps: Any) -> ScriptedModel:
    """Let the server's model answer with these steps, one for each time that it is asked."""
    server.app.state.server.model = model = ScriptedModel(steps)
    return model


def calling(server: RunningServer, tool: str, said: str = "Done.", **arguments: Any) -> Any:
    """A model that calls a tool and then says something."""
    call = function_call(tool, arguments, call_id=CALL)
    return script(server, [call], [assistant_message(said)], [assistant_message("Anything else?")])


# What ChatKit takes where an action does not say it; a database gives it back written out.
UNSAID = {"handler": "server", "loadingBehavior": "auto", "streaming": True}


def plain(value: Any) -> Any:
    """An item as it was before a database had it: what it means is the same."""
    if isinstance(value, list):
        return [plain(part) for part in value]
    if not isinstance(value, dict):
        return value
    return {k: plain(part) for k, part in value.items() if (k, part) not in UNSAID.items()}


def items(person: Person, thread_id: str) -> list[Json]:
    """The thread as it is after a reload."""
    found: list[Json] = plain(person.items(thread_id))
    return found


def done(events: list[Json], kind: str) -> list[Json]:
    """The items of a kind that these events completed or replaced."""
    ends = ("thread.item.done", "thread.item.replaced")
    found = [plain(event["item"]) for event in events if event["type"] in ends]
    return [item for item in found if item["type"] == kind]


def parts(value: Any) -> Iterator[Json]:
    """Every object of a widget."""
    if isinstance(value, dict):
        yield value
    for part in value.values() if isinstance(value, dict) else value:
        if isinstance(part, dict | list):
            yield from parts(part)


def offered(item: Json, kind: str, **payload: Any) -> Json:
    """The widget's action of a type, the first with this in its payload."""
    return next(
        part
        for part in parts(item["widget"])
        if part.get("type") == kind and payload.items() <= (part.get("payload") or {}).items()
    )


def press(
    person: Person, thread_id: str, item: Json, action: Json, form: Json | None = None
) -> list[Json]:
    """Press a button of a widget, as the browser does; the events that follow."""
    payload = action.get("payload")
    sent = {"type": action["type"], "payload": {**(payload or {}), **form} if form else payload}
    about = {"thread_id": thread_id, "item_id": item["id"], "action": sent}
    return person.stream("threads.custom_action", **about)


def outputs(model: ScriptedModel) -> list[str]:
    """What tools answered, as the model was told it when it was asked last."""
    given: Any = model.calls[-1].input
    return [str(item["output"]) for item in given if item.get("type") == "function_call_output"]


def lock(server: RunningServer, person: Person, thread_id: str, status: str) -> None:
    """Set the thread's status, as an owner's code would."""
    store: BaseStore = server.store
    context = server.context_of(person)

    async def change() -> None:
        thread = await store.load_thread(thread_id, context=context)
        changed: Any = {"locked": {"type": "locked"}, "closed": {"type": "closed"}}[status]
        new = thread.model_validate(thread.model_dump() | {"status": changed})
        await store.save_thread(new, context=context)

    server.run(change())


def hidden(server: RunningServer, person: Person, thread_id: str) -> list[ThreadItem]:
    """The items of the thread that nobody is shown."""
    return [item for item in server.stored(person, thread_id) if "hidden" in item.type]


@contextmanager
def before_and_after_a_restart() -> Iterator[tuple[RunningServer, RunningServer]]:
    """Two servers of one store; in memory, where nothing lasts, a new object in the same one."""
    kept = fresh()
    with serve(**LIVE | kept) as first:
        if kept:
            with serve(**LIVE | kept) as second:
                yield first, second
        else:
            state = first.app.state
            state.server = type(state.server)(state.server.store, state.server.settings)
            yield first, first
