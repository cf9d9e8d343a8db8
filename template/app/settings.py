"""The settings of this project: one section from each part, put together.

The template's file: improvements arrive through `copier update`.
"""

from pydantic import ValidationError

from .auth import AuthSettings
from .config import AppSettings, explain
from .model import ModelSettings
from .run import RunSettings
from .store import StoreSettings


class Settings(RunSettings, ModelSettings, AuthSettings, StoreSettings, AppSettings):
    """Every setting, by its name in the environment; `.env.example` lists them."""


def load_settings() -> Settings:
    """The settings from the environment and `.env`.

    Raises SystemExit with one sentence for each value that does not fit.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise SystemExit(explain(error)) from None
    except UnicodeDecodeError:
        raise SystemExit(".env is not a text in UTF-8: save it as one.") from None
