"""Who is asking: made by `auth` for each request, handed to every store call and tool."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RequestContext:
    """The person (and organisation) behind a request.

    Raises ValueError for an empty id: it would put strangers' conversations together.
    """

    user_id: str
    org_id: str | None = None
    roles: frozenset[str] = frozenset()
    locale: str = "en"

    def __post_init__(self) -> None:
        if not self.user_id.strip() or (self.org_id is not None and not self.org_id.strip()):
            raise ValueError("user_id and org_id must not be empty")

    @property
    def owner(self) -> tuple[str, str]:
        """The key that every stored row begins with."""
        return (self.org_id or "", self.user_id)
