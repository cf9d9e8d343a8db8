"""Usage by owner and day, kept where the project keeps its conversations."""

from collections import Counter
from string import Template
from typing import Any

Owner = tuple[str, str]
# Tokens from a cache are input too, and those of reasoning output. A request is one to a model.
TOKENS = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")
COUNTED = ("turns", "requests", *TOKENS)
_NAMES = ", ".join(COUNTED)

# SQL of both databases, which name a value each in its own way: `statement` puts that in. A store
# sends a statement again where a connection broke: what a turn has added is not added twice, by the
# ids of the last 16 that did, each of 32 characters, the newest first.
ADD = f"""
    INSERT INTO usage (org_id, user_id, day, last_turn, {_NAMES})
    VALUES ($org, $user, $day, $turn, {", ".join(f"${name}" for name in COUNTED)})
    ON CONFLICT (org_id, user_id, day) DO UPDATE SET
        last_turn = substr(excluded.last_turn || usage.last_turn, 1, 512),
        {", ".join(f"{name} = usage.{name} + excluded.{name}" for name in COUNTED)}
    WHERE replace(usage.last_turn, excluded.last_turn, '') = usage.last_turn
    RETURNING 1
"""
OF_A_DAY = f"""
    SELECT {_NAMES} FROM usage WHERE (org_id, user_id) = ($org, $user) AND day = $day
"""
# What `python -m app data usage` asks for: an owner's days, and the users who used most.
DAYS = f"""
    SELECT org_id, user_id, day, {_NAMES} FROM usage
    WHERE (org_id, user_id) = ($org, $user) AND day >= $since ORDER BY day DESC
"""
USERS = f"""
    SELECT org_id, user_id, {", ".join(f"CAST(sum({name}) AS bigint)" for name in COUNTED)}
    FROM usage WHERE day >= $since AND org_id = coalesce($org, org_id)
    GROUP BY org_id, user_id ORDER BY sum(input_tokens + output_tokens) DESC, org_id, user_id
    LIMIT $rows
"""


def statement(text: str, parameter: str) -> str:
    """The SQL for a store whose statements name a value as `parameter` does."""
    names = {name for _, name, *_ in Template.pattern.findall(text)}
    return Template(text).substitute({name: parameter.format(name) for name in names})


class UsageStore:
    """Usage in a table of the database, or in the memory of a store that has none."""

    def __init__(self, store: Any) -> None:
        self.run = getattr(store, "run", None)
        if self.run:
            self.add_sql = statement(ADD, store.parameter)
            self.day_sql = statement(OF_A_DAY, store.parameter)
        else:
            self.kept: dict[Any, Counter[str]] = vars(store).setdefault("usage", {})

    async def add(self, owner: Owner, day: str, used: Counter[str], turn: str) -> None:
        """Add what a turn used, by an id that names it. Raises StoreUnavailable."""
        if self.run:
            values = {"org": owner[0], "user": owner[1], "day": day, "turn": turn}
            await self.run(self.add_sql, **values, **{name: used[name] for name in COUNTED})
        else:
            self.kept[owner, day] = self.kept.get((owner, day), Counter()) + used

    async def of_day(self, owner: Owner, day: str) -> Counter[str]:
        """What the owner used on a day by UTC, as in 2026-01-31. Raises StoreUnavailable."""
        if not self.run:
            return self.kept.get((owner, day), Counter())
        rows = await self.run(self.day_sql, org=owner[0], user=owner[1], day=day)
        return Counter(dict(zip(COUNTED, rows[0], strict=True)) if rows else {})
