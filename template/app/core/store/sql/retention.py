"""What a database store can do for `app/data.py`: hand out one user's rows, and remove rows.

Everything goes by pages of rows that follow a key, each read or removed by a statement of its own:
memory stays constant, no transaction lasts, and a pooler in transaction mode will do.
"""

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal, NamedTuple, Protocol

Owner = tuple[str, str]  # organisation ("" for none) and user
Table = Literal["threads", "attachments", "usage"]


class Statements(Protocol):
    """The SQL of it in a store's own dialect: the module of its statements is one of these."""

    ORGANISATIONS: str  # of `user`, wherever they have anything: (org_id,), sorted
    COUNT: str  # of `org` and `user`: (threads, items, attachments, days of usage)
    SIZE: str  # of everybody: (threads + attachments + days of usage,)
    # Of `org` and `user`, after `id` and `seq`, up to `rows`: ("thread" | "item", id, seq, JSON)
    # with each thread before its items, ("attachment", id, 0, JSON), ("usage", day, 0, JSON), and
    # after `id` and `item` ("feedback", thread's id, item's id, JSON).
    CONVERSATIONS: str
    ATTACHMENTS: str
    FEEDBACK: str
    USAGE: str
    # By table, and whether it is about everybody's rows that are older than `seconds` or about all
    # of `org` and `user`. LOOK gives up to `rows` after `org`, `user`, `id`: (org_id, user_id, id,
    # items to be removed with it, NULL where the row stays). REMOVE takes those that do not stay,
    # up to `last_org`, `last_user`, `last_id`: (org_id, user_id, id) of each.
    LOOK: dict[tuple[str, bool], str]
    REMOVE: dict[tuple[str, bool], str]


class Record(NamedTuple):
    type: str  # thread, item, attachment, feedback or usage
    owner: Owner
    text: str  # JSON


class Retention(ABC):
    """What a database store inherits besides: it brings its statements and runs them."""

    statements: Statements
    parameter = ":{}"  # how a statement of this database names a value
    page = 100  # rows

    @abstractmethod
    async def run(self, statement: str, **values: Any) -> list[Any]:
        """The rows of a statement, which is a transaction of its own. Raises StoreUnavailable."""

    async def organisations(self, user: str) -> list[str]:
        """The organisations in which the user has anything, "" for none."""
        return [org for (org,) in await self.run(self.statements.ORGANISATIONS, user=user)]

    async def count(self, owner: Owner) -> Counter[str]:
        """How many threads, items, attachments and days of usage the owner has."""
        org, user = owner
        [counts] = await self.run(self.statements.COUNT, org=org, user=user)
        names = ("threads", "items", "attachments", "usage")
        return +Counter(dict(zip(names, counts, strict=True)))

    async def size(self) -> int:
        """How many rows a sweep over all that everybody has looks at."""
        [(rows,)] = await self.run(self.statements.SIZE)
        return int(rows)

    async def records(self, owners: Sequence[Owner]) -> AsyncIterator[list[Record]]:
        """The owners' threads by age, each before its items; attachments; feedback; usage."""
        sql = self.statements
        for statement in (sql.CONVERSATIONS, sql.ATTACHMENTS, sql.FEEDBACK, sql.USAGE):
            for org, user in owners:
                values: dict[str, Any] = {"org": org, "user": user, "rows": self.page}
                values |= {"id": "", "seq": -1, "item": ""}
                while page := await self.run(statement, **values):
                    yield [Record(kind, (org, user), text) for kind, _, _, text in page]
                    _, values["id"], values["seq"], _ = page[-1]
                    values["item"] = values["seq"]

    async def sweep(
        self, table: Table, owner: Owner | None = None, *, before: float = 0, dry: bool = False
    ) -> AsyncIterator[Counter[str]]:
        """Remove the owner's rows; without one everybody's that are older than `before`.

        That is a time of the clock `time.monotonic()`. A thread goes with its items. Gives for each
        page how many rows of the table were `seen`, and how many of the table and of the items
        were removed, or would be in a `dry` sweep.
        """
        which = (table, owner is None)
        after = (*(owner or ("", "")), "")
        while page := await self.run(
            self.statements.LOOK[which], **_key(after), **_age(before), rows=self.page
        ):
            last = page[-1][:3]
            found = {tuple(key): items for *key, items in page if items is not None}
            if found and not dry:
                bounds = _key(after) | _key(last, "last_") | _age(before)
                gone = await self.run(self.statements.REMOVE[which], **bounds)
                found = {key: found.get(key, 0) for key in map(tuple, gone)}
            yield Counter({"seen": len(page), table: len(found), "items": sum(found.values())})
            after = last


def _age(before: float) -> dict[str, Any]:
    """Seconds since then: so all of a sweep means one time, and each by the database's clock."""
    return {"seconds": time.monotonic() - before}


def _key(row: tuple[str, ...], prefix: str = "") -> dict[str, Any]:
    names = (prefix + name for name in ("org", "user", "id"))
    return dict(zip(names, row, strict=True))
