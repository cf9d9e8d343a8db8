"""Development: a request of a visitor, while there is no page that sends one."""

from ..curl import development
from .visitor import AnonymousSettings


def credentials(user: str, url: str) -> tuple[str, ...]:
    """Options for `curl`: a cookie jar, which makes the next request one of the same visitor."""
    development(AnonymousSettings)
    return "-c", "jar", "-b", "jar"
