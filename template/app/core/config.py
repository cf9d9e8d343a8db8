"""Settings: where they come from, and how a missing or contradictory one stops the start."""

import os
import re
import signal
import sys
from multiprocessing import parent_process
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, Secret, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Level = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
S = TypeVar("S", bound="Section")


def fitting(pattern: str, told: str) -> AfterValidator:
    """Takes the blanks around a text off; what is left has to be wholly of `pattern`.

    Else it raises ValueError with `told`, in which {!r} names the text, without a user or a
    password; what is a secret as a whole is better not named.
    """

    def fit(text: str) -> str:
        if re.fullmatch(pattern, text.strip()):
            return text.strip()
        raise ValueError(told.format(text.rpartition("@")[2]))

    return AfterValidator(fit)


HOST = r"([\w-]+(\.[\w-]+)*\.?|\[[\da-fA-F:.]+\])(:\d{1,5})?"
URL = rf"(?i)https?://([^\s/?#@]+@)?{HOST}([/?#]\S*)?"
# As browsers send it: in ASCII, and without the port that is its scheme's own.
ORIGIN = rf"(?a)(?!http:.*:80$|https:.*:443$)https?://{HOST}"
NO_ORIGIN = """{!r} is not an origin: write scheme, host and port as browsers send them, without \
:80 or :443, a user or a path, as in https://www.example.com or http://localhost:5173, \
separated by commas. A * would let every site in"""

Origin = Annotated[str, fitting(ORIGIN, NO_ORIGIN)]
# What goes to a service as it stands, and would fail only at the first message.
Address = Annotated[str, fitting(URL, "write it whole, as in https://www.example.com/path")]
Key = Secret[Annotated[str, fitting("[!-~]+", "a key is one word of ASCII, without blanks in it")]]


class Section(BaseSettings):
    """Base of every part of the settings; read from the environment, then from `.env`."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", env_ignore_empty=True)

    app_env: Literal["development", "production"] = "development"

    @property
    def is_production(self) -> bool:
        return self.app_env == "production"

    def errors(self) -> list[str]:
        """What stops the start: one sentence each, naming the variable and how to set it."""
        return []

    def startup_warnings(self) -> list[str]:
        """What the log says once at the start."""
        return []


def listed(value: object) -> object:
    """Parts of a text that commas separate; what is a list already stays one."""
    parts = value.split(",") if isinstance(value, str) else []
    return [part.strip().lower() for part in parts if part.strip()] or value


class AppSettings(Section):
    """What every project has, whatever its answers are."""

    log_level: Annotated[Level, BeforeValidator(str.upper)] = "INFO"
    # Origins of front ends that are not served from this server's own, separated by commas.
    allowed_origins: Annotated[tuple[Origin, ...], NoDecode, BeforeValidator(listed)] = ()
    max_body_bytes: Annotated[int, Field(gt=0)] = 1_000_000
    body_timeout: Annotated[float, Field(gt=0)] = 20.0  # seconds to send a request's body
    stream_heartbeat: Annotated[float, Field(gt=0)] = 15.0  # seconds of silence before a comment
    turn_lease: Annotated[float, Field(gt=0)] = 15.0  # seconds a thread stays taken after a crash
    answers_at_once: Annotated[int, Field(gt=0)] = 5  # of one owner, in one process
    turn_wait: Annotated[float, Field(ge=0)] = 5.0  # seconds for another turn of the thread to end


def load(section: type[S]) -> S:
    """The settings of a section from the environment and `.env`.

    Raises SystemExit with one sentence for each value that does not fit.
    """
    try:
        return section()
    except ValidationError as error:
        raise SystemExit(explain(error)) from None
    except UnicodeDecodeError:
        raise SystemExit(".env is not a text in UTF-8: save it as one.") from None


def stop_on_problems(settings: Section) -> None:
    """Raises SystemExit with a sentence a line when the settings cannot work."""
    if problems := settings.errors():
        if parent_process() and re.search("uvicorn|fastapi", sys.argv[0]):
            os.kill(os.getppid(), signal.SIGTERM)  # it would start this worker again and again
        raise SystemExit("\n".join(problems))


def explain(error: ValidationError) -> str:
    """A sentence a line for values that do not fit, without repeating what may be a secret."""
    return "\n".join(
        f"{str(problem['loc'][0]).upper()} does not fit: "
        f"{problem['msg'].removeprefix('Value error, ')}. Set it in the environment or in .env."
        for problem in error.errors(include_input=False, include_url=False)
    )
