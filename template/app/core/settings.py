"""The settings of this project: one section from each part, put together."""

from .agent.model import ModelSettings
from .agent.run import RunSettings
from .auth import AuthSettings
from .config import load
from .http.rate_limit import LimitSettings
from .store import StoreSettings


class Settings(RunSettings, ModelSettings, AuthSettings, StoreSettings, LimitSettings):
    """Every setting, by its name in the environment; `.env.example` lists them."""


def load_settings() -> Settings:
    """The settings from the environment and `.env`. Raises SystemExit, as `load` does."""
    return load(Settings)
