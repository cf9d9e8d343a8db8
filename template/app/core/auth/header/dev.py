"""Development: a request with the headers that the proxy would add."""

from ..curl import development
from .proxy import PROOF, HeaderSettings


def credentials(user: str, url: str) -> tuple[str, ...]:
    """Options for `curl`: the headers by which the proxy names `user` and proves itself."""
    settings = development(HeaderSettings)
    proof = ("-H", f"{PROOF}: {settings.proof}") if settings.proof else ()
    return "-H", f"{settings.auth_header}: {user}", *proof
