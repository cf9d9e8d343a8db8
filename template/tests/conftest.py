"""The fixtures of tests/core/fixtures.py, for your tests too."""

from .core.fixtures import (  # noqa: F401
    _clean_environment,
    errors,
    open_folder,
    person,
    server,
    stranger,
)
