"""People whom a proxy names in headers, as oauth2-proxy and its like do."""

import uuid
from typing import Any

SECRET = "a-secret-that-only-the-proxy-knows"

# Settings that make people known in tests, and what else production asks for.
SETTINGS: dict[str, Any] = {"auth_proxy_secret": SECRET, "auth_org_header": "x-org-id"}
LIVE: dict[str, Any] = {"auth_proxy_secret": SECRET}


def newcomer(user: str = "", org: str = "") -> dict[str, str]:
    """The headers by which the server takes someone for that person, or one nobody has seen yet."""
    found = {"x-auth-proxy-secret": SECRET, "x-user-id": user or f"user_{uuid.uuid4().hex}"}
    return found | ({"x-org-id": org} if org else {})


def nobody() -> dict[str, str]:
    """Headers by which the server knows nobody: no proxy has proven itself."""
    return {"x-user-id": "ada"}
