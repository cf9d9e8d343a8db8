"""The model that this project was made for, against a stand-in that is asked over real HTTP."""

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from agents import Agent, handoff

from app.core.agent.model import build_model, has_credentials
from app.core.application import create_app
from app.core.config import stop_on_problems
from app.core.settings import Settings
from app.server import Server

from .. import auth_styles as people
from .. import stores
from ..chat import Json, Person, events_of, request, text_of, thread_id_of, user_input
from ..fixtures import RunningServer, serve, settings, wait_until
from .provider import DICE, REFUSAL, THOUGHT, Asked, provider


def credentials(url: str) -> dict[str, Any]:
    """The settings that lead to the stand-in, for the variant that this project has."""
    if "azure_openai_endpoint" in Settings.model_fields:
        return {"azure_openai_endpoint": url, "azure_openai_api_key": "sk-test"}
    if "litellm_base_url" in Settings.model_fields:
        return {"litellm_base_url": f"{url}/v1", "litellm_api_key": "sk-test"}
    return {"openai_base_url": f"{url}/v1", "openai_api_key": "sk-test"}


ADDRESS, KEY = credentials("")  # the names of the settings
# LiteLLM finds the provider by the prefix of the name.
NAME = "openai/a-model" if "litellm_base_url" in Settings.model_fields else "a-model"


@pytest.fixture(scope="module")
def standin() -> Iterator[RunningServer]:
    running = RunningServer(provider())
    running.start()
    yield running
    running._uvicorn.force_exit = True  # what it was still saying, nobody hears
    running.stop()


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less between two tries than the provider's client would, and ask for no titles.

    The agent is one of these tests, with the tool that the stand-in calls.
    """
    monkeypatch.setattr("app.server.assistant", DICE)
    monkeypatch.setattr("app.server.Server.titles", None, raising=False)
    monkeypatch.setattr("app.core.agent.retries.FIRST_DELAY", 0.02)


@pytest.fixture(scope="module")
def server(standin: RunningServer) -> Iterator[RunningServer]:
    with serve(**credentials(standin.url), model=NAME, model_timeout=10) as running:
        yield running


@pytest.fixture
def log(standin: RunningServer) -> list[Asked]:
    found: list[Asked] = standin.app.state.log
    found.clear()
    return found


def last_error(events: list[Json]) -> Json:
    assert events[-1]["type"] == "error", events[-1]
    assert events[-1]["code"] == "custom"
    return events[-1]


def test_text_comes_from_the_model_that_is_named(person: Person, log: list[Asked]) -> None:
    events = person.say("Hello")
    assert text_of(events) == "You said Hello again and again"
    [asked] = log
    assert asked.body["model"] == "a-model"
    assert asked.body["stream"]
    assert "sk-test" in asked.headers.get("authorization", asked.headers.get("api-key", ""))


PREFIX = NAME.removesuffix("a-model")


@pytest.mark.parametrize(
    ("picked", "asked"),
    [(None, ["a-first", "a-second"]), (f"{PREFIX}a-third", ["a-third", "a-second"])],
)
def test_each_agent_asks_its_own_model_and_a_person_picks_the_first_ones(
    server: RunningServer,
    standin: RunningServer,
    person: Person,
    log: list[Asked],
    monkeypatch: pytest.MonkeyPatch,
    picked: str | None,
    asked: list[str],
) -> None:
    own = build_model(settings(**credentials(standin.url), model=f"{PREFIX}a-second"))
    second = Agent[Any](name="Second", model=own)
    over = handoff(second, tool_name_override="roll_dice")  # which the stand-in calls
    first = Agent[Any](name="First", model=f"{PREFIX}a-first", handoffs=[over])
    monkeypatch.setattr("app.server.assistant", first)
    monkeypatch.setattr("app.server.Server.selectable_models", (f"{PREFIX}a-third",))
    monkeypatch.setattr(server.app.state.server.settings, "text_window", 60.0)
    events = person.say("roll dice", inference_options={"model": picked})
    assert text_of(events).startswith("It rolled")
    assert [one.body["model"] for one in log] == asked
    updates = [e["update"] for e in events if e["type"] == "thread.item.updated"]
    words = [u["delta"] for u in updates if u["type"].endswith("text_delta")]
    assert len(words) <= 2 < len(text_of(events).split())  # joined, as the project's model's are


def test_ten_turns_with_tools_keep_ids_and_order(person: Person, log: list[Asked]) -> None:
    thread_id = thread_id_of(person.say("roll dice 0"))
    for number in range(1, 10):
        person.say(f"roll dice {number}", thread_id)

    items = person.items(thread_id)
    assert len({item["id"] for item in items}) == len(items) == 20
    texts = [item["content"][0]["text"] for item in items]
    assert texts[::2] == [f"roll dice {number}" for number in range(10)]
    assert all(text.startswith("It rolled ") for text in texts[1::2])
    assert len(log) == 20  # a call and its second model turn, each time
    assert log[-1].output is not None
    assert [asked.said for asked in log] == [f"roll dice {n // 2}" for n in range(20)]


def test_a_model_that_thinks_shows_its_thought(person: Person) -> None:
    events = person.say("think")
    assert THOUGHT in str(events)
    assert text_of(events).startswith("You said think")
    assert text_of(person.say("and on", thread_id_of(events))).startswith("You said and on")


def test_a_refusal_is_what_the_person_reads(person: Person) -> None:
    events = person.say("refuse")
    assert text_of(events) == REFUSAL or last_error(events)["message"] in (
        REFUSAL,
        "The assistant has no answer to this.",
    )
    assert text_of(person.say("Hello", thread_id_of(events)))


@pytest.mark.parametrize(
    ("said", "told", "retry"),
    [
        ("status 401", "not set up correctly", False),
        ("status 404", "has no model of this name", False),
        ("status 400", "cannot answer this message", False),
        ("status 429", "too much to do", True),
        ("status 500", "has a problem", True),
        ("cut", "Please try again", True),
    ],
)
def test_a_failure_is_one_sentence_and_the_thread_works_on(
    person: Person, errors: Callable[[], list[str]], said: str, told: str, retry: bool
) -> None:
    events = person.say(said)

    error = last_error(events)
    assert told in error["message"]
    assert error["allow_retry"] is retry
    assert "sk-" not in str(events) + "".join(errors())
    assert text_of(person.say("Hello", thread_id_of(events))) == "You said Hello again and again"


def test_a_model_that_never_begins_is_given_up(
    standin: RunningServer, person: Person, log: list[Asked]
) -> None:
    person.say("Hello")  # what a provider's client does at its first call takes time too
    with serve(**credentials(standin.url), model=NAME, model_timeout=0.3) as impatient:
        person = impatient.person()
        person.http.timeout = 5  # seconds of silence: without a limit of its own this would hang
        events = person.say("never")
        assert "took too long" in last_error(events)["message"]
        assert log[-1].said == "never"
        wait_until(lambda: log[-1].closed is not None, 5)
        assert text_of(person.say("Hello", thread_id_of(events)))


def test_a_model_that_falls_silent_in_mid_answer_ends_with_what_there_is(
    standin: RunningServer, log: list[Asked]
) -> None:
    with serve(**credentials(standin.url), model=NAME, model_stall=0.3) as impatient:
        events = impatient.person().say("hang")
    assert "broke off in mid-answer. Please try again." in last_error(events)["message"]
    updates = [e["update"] for e in events if e["type"] == "thread.item.updated"]
    said = "".join(u["delta"] for u in updates if u["type"].endswith("text_delta"))
    assert said.startswith("You said hang")
    assert len(log) == 1
    wait_until(lambda: log[0].closed is not None, 5)


def test_a_turn_has_two_retries(person: Person, log: list[Asked]) -> None:
    last_error(person.say("status 500"))
    assert len(log) == 3


def test_a_wait_that_is_long_is_told_at_once(
    person: Person, log: list[Asked], errors: Callable[[], list[str]]
) -> None:
    error = last_error(person.say("status 429 after 50"))
    assert "has too much to do. Please try again in about a minute." in error["message"]
    assert error["allow_retry"]
    assert len(log) == 1
    assert "limit or quota is used up" in errors()[-1]


@pytest.mark.parametrize("status", [429, 503])
def test_what_passes_is_tried_again_before_the_first_word(
    person: Person, log: list[Asked], status: int
) -> None:
    events = person.say(f"status {status} once")
    assert text_of(events).startswith("You said status")
    assert len(log) == 2


def test_a_broken_answer_is_not_asked_for_twice(person: Person, log: list[Asked]) -> None:
    last_error(person.say("cut"))
    assert len(log) == 1


def test_a_stop_closes_the_providers_socket(person: Person, log: list[Asked]) -> None:
    body = request("threads.create", input=user_input("endless"))
    with person.http.stream("POST", "/chatkit", json=body) as response:
        for event in events_of(response):
            if event["type"] == "thread.item.updated":
                break
    left = time.monotonic()
    wait_until(lambda: log[0].closed is not None, 5)
    assert (log[0].closed or 0) - left < 1
    assert log[0].sent < 1000


ASKED: set[tuple[str, int]] = set()


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    """Every name that this process looks up and every address that it connects to."""
    if event == "socket.connect":
        ASKED.add(arguments[1][:2])
    elif event == "socket.getaddrinfo":
        ASKED.add((arguments[0], int(arguments[1] or 0)))


def test_no_other_host_is_asked(standin: RunningServer) -> None:
    sys.addaudithook(_note)
    # uvloop connects on its own, where Python's audit events do not see it.
    with serve(**credentials(standin.url), model=NAME, loop="asyncio") as plain:
        ASKED.clear()
        assert "It rolled" in text_of(plain.person().say("roll dice"))
        assert {port for _, port in ASKED} == {standin.port, plain.port}
        assert {host for host, _ in ASKED} == {"127.0.0.1"}


def test_credentials_are_what_makes_the_model_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)  # LiteLLM's default would find it
    assert not has_credentials(settings())
    assert has_credentials(settings(**credentials("http://127.0.0.1:1")))


def test_production_does_not_start_without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    live: Any = {"app_env": "production"} | people.LIVE | stores.LIVE
    with pytest.raises(SystemExit, match="is not set"):
        stop_on_problems(settings(**live))
    stop_on_problems(settings(**live, model="offline"))
    stop_on_problems(settings(**live | credentials("http://127.0.0.1:1")))


@pytest.mark.parametrize(
    "address",
    [
        "models.example.com/v1",
        "localhost:11434",
        "htp://models.example.com/v1",
        "http:///v1",
        "https://:8080",
        "https://models..example",
        "https://models.example.com:port/v1",
        "https://models .example.com/v1",
        "https://models.example.com/v 1",
        "https://ada:sesame@/v1",
        "http://[::1/v1",
        "  ",
    ],
)
def test_an_address_that_cannot_be_one_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv(ADDRESS.upper(), address)
    with pytest.raises(SystemExit, match=f"^{ADDRESS.upper()} does not fit: .*https://") as stop:
        create_app(Server)
    assert "sesame" not in str(stop.value)


@pytest.mark.parametrize(
    "address",
    [
        "https://models.example.com",
        "HTTPS://Models.example.com:8443/v1/",
        "http://localhost:11434/v1",
        "http://my_models:80/v1",
        "http://[::1]:8000/v1",
        "https://ada:sesame@models.example.com/v1?region=eu",
    ],
)
def test_an_address_is_used_as_it_is_written(address: str) -> None:
    given: Any = {ADDRESS: f" {address}\n"}
    assert getattr(settings(**given), ADDRESS) == address


def test_an_empty_address_leads_to_the_services_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "")
    given = settings(**{KEY: "sk-test"})
    client: Any = getattr(build_model(given), "_client", None) if has_credentials(given) else None
    assert client is None or client.base_url.host == "api.openai.com"


@pytest.mark.parametrize("key", ["  ", "sk sesame", "sk-\nsesame", "sk-sésame", "sk\tsesame"])
def test_a_key_that_no_header_takes_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv(KEY.upper(), key)
    with pytest.raises(SystemExit, match=f"^{KEY.upper()} does not fit: a key") as stop:
        create_app(Server)
    assert "same" not in str(stop.value)


def test_blanks_around_a_key_are_left_out() -> None:
    assert getattr(settings(**{KEY: " sk-test\n"}), KEY).get_secret_value() == "sk-test"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("https_proxy", "foo://ada:sesame@proxy.example"),
        ("http_proxy", "http://ada:sesame@proxy.example:port"),
        ("all_proxy", "socks9://ada:sesame@proxy.example"),
        ("SSL_CERT_FILE", "/sesame"),
    ],
)
def test_what_no_connection_can_use_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    working = settings(**credentials("http://127.0.0.1:1"))
    stop_on_problems(working)
    for excepted in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(excepted, raising=False)
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit, match=f"{name}.* cannot be used to reach the model") as stop:
        stop_on_problems(working)
    assert "sesame" not in str(stop.value)
    stop_on_problems(settings(model="offline"))
