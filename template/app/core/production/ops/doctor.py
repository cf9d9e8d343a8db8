"""What keeps this server from answering: a check for each part, and a sentence for what is
wrong.
"""

import asyncio
import json
import logging
import os
import re
from dataclasses import asdict, dataclass
from typing import Any, Literal

from agents import ModelSettings as Limits
from agents import ModelTracing

from ...agent.model import ModelSettings, build_model
from ...agent.model_errors import HINTS
from ...auth import open_auth
from ...config import stop_on_problems
from ...errors import logger
from ...settings import Settings, load_settings
from ...store import open_store
from .first_event import Skipped, Wrong, first_event, helper_headers
from .usage import UsageSettings

PATIENCE = 15.0  # seconds for a part to be there
ENOUGH = 16  # tokens of an answer; OpenAI takes no lower limit
STREAMED = ("response.output_text.delta", "response.incomplete", "response.completed")
State = Literal["ok", "failed", "skipped"]


@dataclass(frozen=True)
class Finding:
    """What a check has found, in one sentence; also of what is well."""

    check: str
    state: State
    told: str


class LastWords(logging.Handler):
    """What the parts would have logged: it names the setting and the reason, and no secret."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == logger.name:
            self.said.append(record.getMessage().rstrip("."))

    def take_over(self) -> None:
        """Let nothing else write a log: the words of an SDK may quote a key."""
        logging.getLogger().handlers = [self]
        for name in ("chatkit", "openai", "openai.agents", "LiteLLM", "psycopg.pool"):
            logging.getLogger(name).handlers.clear()


class Doctor:
    """The checks. Each gives what is well; raises Skipped, or Wrong with how to mend it."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self.url, self.headers, self.words = url, headers, LastWords()
        self.found: Settings | None = None

    async def examine(self) -> list[Finding]:
        """The findings, in the order in which one would look."""
        self.words.take_over()
        checks = (self.settings, self.store, self.people, self.model, self.stream)
        findings = []
        for check in checks:
            state: State = "failed"
            self.words.said.clear()
            try:
                state, told = "ok", await check()
            except Skipped as reason:
                state, told = "skipped", str(reason)
            except Wrong as reason:
                told = str(reason)
            except Exception as error:  # its own words may quote a secret
                last = "".join(f": {said}" for said in self.words.said[-1:])
                told = f"It ended in {type(error).__name__}{last}. The server's log has more."
            findings.append(Finding(check.__name__, state, told))
        return findings

    def usable(self) -> Settings:
        if self.found is None:
            raise Skipped("The settings come first.")
        return self.found

    async def settings(self) -> str:
        """As `create_app` reads them, those of the project's own modules too."""
        try:
            found = load_settings()
            stop_on_problems(found)
            from .... import main as _  # noqa: F401
        except SystemExit as stop:
            raise Wrong(" ".join(str(stop).splitlines())) from None
        self.found = found
        return f"They are complete, for {found.app_env}."

    async def store(self) -> str:
        async with asyncio.timeout(PATIENCE), open_store(self.usable()) as store:
            if reason := await store.ready():
                # The log's last words, unless the reason has them too.
                last = "".join(f" ({w})" for w in self.words.said[-1:] if w[-40:] not in reason)
                told = "look at DATABASE_URL, and at what is between here and there"
                raise Wrong(f"{reason.rstrip('.')}{last}. Where that is not it, {told}.")
        return "It is reached, and its schema is the one that is needed."

    async def people(self) -> str:
        """Fetched keys come a little later: until then there is a reason, but no word of it."""
        async with asyncio.timeout(PATIENCE), open_auth(self.usable()) as auth:
            reason = await auth.ready()
            while reason and not self.words.said:
                await asyncio.sleep(0.02)
                reason = await auth.ready()
            if reason:
                mend = "Correct what it names, and see that this machine reaches it."
                told = reason.removesuffix(" Please try again.")
                raise Wrong(f"{told} {self.words.said[-1]}. {mend}")
        return "They can be known."

    async def model(self) -> str:
        """One request, as small as it can be, on the way that answers take."""
        found = self.usable()
        if found.is_offline:
            raise Skipped("The offline model answers: there are no credentials to be tried.")
        try:
            async with asyncio.timeout(found.model_timeout):
                await ask_model(found)
        except Exception as error:
            status = getattr(error, "status_code", None) or 0
            hint = HINTS.get(status, f"the model does not answer ({type(error).__name__}). ")
            names = [name.upper() for name in ModelSettings.model_fields if name != "app_env"]
            told = f"{hint[0].upper()}{hint[1:]}Look at {', '.join(sorted(names))}."
            raise Wrong(told) from None
        return "It takes the credentials, and answers."

    async def stream(self) -> str:
        if not self.url:
            raise Skipped("--url names the address that users use: https://chat.example.com")
        headers = self.headers
        if not headers and self.found and not self.found.is_production:
            headers = await asyncio.to_thread(helper_headers)
        return await first_event(self.url, headers)


async def ask_model(settings: Settings) -> None:
    """Raises what the provider's client does. An answer that is cut at its limit is one."""
    assert isinstance(settings, UsageSettings)
    model = build_model(settings)
    rest: Any = {"previous_response_id": None, "conversation_id": None, "prompt": None}
    usage = settings.ask_for_usage or None  # as a turn asks
    for limit in (ENOUGH, None):  # some models know no such limit
        limits = Limits(max_tokens=limit, include_usage=usage)
        given: Any = (None, "Say: ok", limits, [], None, [], ModelTracing.DISABLED)
        try:
            async for event in model.stream_response(*given, **rest):
                if event.type in STREAMED:
                    return
        except Exception as error:
            if limit is None or getattr(error, "status_code", None) != 400:
                raise
    raise ValueError("an answer without a word")


def headers_of(lines: list[str]) -> dict[str, str]:
    """The headers by their names. Raises SystemExit, which repeats nothing of what may be a key."""
    parted = [re.fullmatch(r"([\w-]+): *([ -~]*\S)", line.strip(), re.ASCII) for line in lines]
    if not all(parted):
        raise SystemExit("A header is written as in --header 'authorization: Bearer …'.")
    return {found[1]: found[2] for found in parted if found}


def main(url: str, header: list[str], as_json: bool) -> None:
    """Print the findings. Raises SystemExit: 0 when nothing is wrong, 1 otherwise."""
    hidden = os.environ.get("DOCTOR_HEADER")
    headers = headers_of(header + ([hidden] if hidden else []))
    findings = asyncio.run(Doctor(url, headers).examine())
    is_well = all(finding.state != "failed" for finding in findings)
    if as_json:
        print(json.dumps({"ok": is_well, "checks": [asdict(found) for found in findings]}))
    else:
        print("\n".join(f"{f.state:8} {f.check:9} {f.told}" for f in findings))
    raise SystemExit(not is_well)
