"""The settings of this project: one section from each part, put together.

The template's file: improvements arrive through `copier update`.
"""

from .auth import AuthSettings
from .config import load
from .limits import LimitSettings
from .model import ModelSettings
from .run import RunSettings
from .store import StoreSettings


class Settings(RunSettings, ModelSettings, AuthSettings, StoreSettings, LimitSettings):
    """Every setting, by its name in the environment; `.env.example` lists them."""


def load_settings() -> Settings:
    """The settings from the environment and `.env`. Raises SystemExit, as `load` does."""
    return load(Settings)
