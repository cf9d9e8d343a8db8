"""`python -m app data usage`, and what the other commands do with usage."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from app.core.commands import data
from app.core.context import RequestContext
from app.core.production.ops.usage_store import COUNTED, UsageStore

from ..stores import counted
from .test_data import ME, MINE, THEIRS, DataStore, empty, with_store

Json = dict[str, Any]
ONE = Counter(dict(zip(COUNTED, (1, 2, 1000, 400, 100, 50), strict=True)))
TODAY = datetime.now(UTC).date()


def day(ago: int) -> str:
    return str(TODAY - timedelta(days=ago))


async def use(store: Any, owner: RequestContext, ago: int, times: int = 1) -> None:
    for number in range(times):
        await UsageStore(store).add(owner.owner, day(ago), ONE, f"{ago}-{number}")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Json:
    """The settings of a store in which I used something on three days, others today."""
    values = empty(monkeypatch)

    async def fill(store: DataStore) -> None:
        for ago in (0, 1, 40):
            await use(store, ME, ago)
        await use(store, MINE[1], 0, times=2)
        for number, owner in enumerate(THEIRS):
            await use(store, owner, 0, times=5 + number)

    with_store(fill, values)
    return values


def asked(*arguments: str) -> Any:
    result = CliRunner().invoke(data.commands, ["usage", *arguments])
    assert result.exit_code == 0, result.output
    return result


def lines(*arguments: str) -> list[Json]:
    return [json.loads(line) for line in asked("--json", *arguments).stdout.splitlines()]


def test_the_users_who_used_most_come_first(here: Json) -> None:
    owners = [(row["org_id"], row["user_id"], row["turns"]) for row in lines()]
    theirs = [(*owner.owner, 5 + number) for number, owner in enumerate(THEIRS)]
    assert owners == [*reversed(theirs), ("", "me", 2), ("b", "me", 2)]
    assert lines("--top", "1") == lines()[:1]
    assert {row["org_id"] for row in lines("--org", "b")} == {"b"}
    assert lines("--org", "")[-1]["input_tokens"] == 2000


def test_one_users_days_are_the_newest_first(here: Json) -> None:
    rows = lines("--user", "me")
    days = [(row["org_id"], row["day"]) for row in rows]
    assert days == [("", day(0)), ("", day(1)), ("b", day(0))]
    assert {name: rows[0][name] for name in COUNTED} == ONE
    all_of_them = lines("--user", "me", "--org", "", "--since", day(40))
    assert [row["day"] for row in all_of_them] == [day(0), day(1), day(40)]
    assert lines("--user", "me", "--since", day(0), "--org", "b")[0]["turns"] == 2
    assert lines("--user", "nobody") == []


def test_a_terminal_gets_a_table_with_a_sum(here: Json) -> None:
    shown = asked("--user", "me").stdout
    head, *_, total = [line.split() for line in shown.splitlines() if line.strip()]
    assert head[:3] == ["org", "user", "day"]
    assert head[3:] == [name.removesuffix("_tokens") for name in COUNTED]
    assert total == ["4", "8", "4,000", "1,600", "400", "200"]
    nothing = asked("--user", "nobody")
    assert (nothing.stdout, "Nothing was used since" in nothing.stderr) == ("", True)


def test_what_a_turn_used_is_added_once_however_often_it_is_sent() -> None:
    async def check(store: DataStore) -> None:
        usage = UsageStore(store)
        for turn in ("a", "a", "b"):
            await usage.add(ME.owner, day(0), ONE, turn)
        assert (await usage.of_day(ME.owner, day(0)))["turns"] == 2

    with_store(check)


def test_to_add_and_to_look_is_one_round_trip_each() -> None:
    async def check(store: DataStore) -> None:
        usage = UsageStore(store)
        with counted() as sent:
            await usage.add(ME.owner, day(0), ONE, "a")
            assert len(sent) == 1
            assert await usage.of_day(ME.owner, day(0)) == ONE
            assert len(sent) == 2

    with_store(check)
