"""Visitors: whoever comes without a cookie is somebody new."""

from typing import Any

# Settings that make people known in tests, and what else production asks for.
SETTINGS: dict[str, Any] = {}
LIVE: dict[str, Any] = {"visitor_secret": "a-secret-of-some-length"}


def newcomer(user: str = "", org: str | None = None) -> dict[str, str]:
    """The headers by which the server takes someone for a person whom nobody has seen yet.

    Visitors have neither a name nor an organisation: each is somebody else.
    """
    return {}
