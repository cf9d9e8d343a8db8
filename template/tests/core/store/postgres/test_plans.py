"""How PostgreSQL would run each statement of the store: by an index, whatever the size.

The template's file: improvements arrive through `copier update`. PLANS says how many rows.
"""

import os
import re
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import psycopg
import pytest

from app.core.store.postgres import retention_statements, statements

from ...stores import fresh

# Threads of an owner, items of a thread, and of the one that is long.
OWNERS, THREADS, ITEMS, LONG = map(int, os.environ.get("PLANS", "1000 5 4 3000").split())
NO_INDEX = {
    "VERSION": "its table has one row",
    "TAKEN": "it looks for five tables, in the catalog",
    "SIZE": "it counts every row",
}
BY_INDEX = ("Index Scan", "Index Only Scan", "Bitmap Heap Scan")  # an index makes the bitmap
KEY = re.compile(r"\b(org_id|user_id|thread_id|id|seq)\b")

FILL = f"""
    SELECT set_config('session_replication_role', 'replica', false)  -- no look at foreign keys
    FROM pg_roles WHERE rolname = current_user AND rolsuper;

    INSERT INTO threads (org_id, user_id, id, created_at, status, allowed_image_domains, metadata)
    SELECT '', 'user_' || owner, 'thr_' || owner || '_' || number, now(),
        '{{"type": "active"}}', '[]', '{{}}'
    FROM generate_series(1, {OWNERS}) AS owner, generate_series(1, {THREADS}) AS number;

    INSERT INTO items (org_id, user_id, thread_id, id, seq, data)
    SELECT org_id, user_id, threads.id, 'msg_' || threads.id || '_' || seq, seq, '{{}}'
    FROM threads, generate_series(1, CASE WHEN id = 'thr_1_1' THEN {LONG} ELSE {ITEMS} END) AS seq;

    INSERT INTO attachments (org_id, user_id, id, data)
    SELECT '', 'user_' || owner, 'atc_' || owner, '{{}}' FROM generate_series(1, {OWNERS}) AS owner;

    INSERT INTO feedback (org_id, user_id, thread_id, item_id, kind)
    SELECT org_id, user_id, thread_id, id, 'positive' FROM items;

    INSERT INTO usage (org_id, user_id, day, turns, requests, input_tokens, cached_tokens,
                       output_tokens, reasoning_tokens, last_turn)
    SELECT '', 'user_' || owner, '2026-01-' || 10 + day, 1, 1, 1, 1, 1, 1, ''
    FROM generate_series(1, {OWNERS}) AS owner, generate_series(1, 9) AS day;

    ANALYZE threads, items, attachments, feedback, usage
"""

# Values of the statements' parameters that are the same for every owner.
ANY: dict[str, Any] = {
    "org": "",
    "kind": "positive",
    "rows": 21,
    "own": True,
    "created_at": None,
    "title": None,
    "retitled": False,
    "status": '{"type": "active"}',
    "allowed_image_domains": "[]",
    "metadata": "{}",
    "lease": 1,
    "seconds": 30.0,
    "generation": 1,
    "data": "{}",
    "turn": "1",
    "turns": 1,
    "requests": 1,
    "input_tokens": 1,
    "cached_tokens": 1,
    "output_tokens": 1,
    "reasoning_tokens": 1,
    "day": "2026-01-15",
    "since": "2026-01-15",
}
# What deleting a thread makes the server run as well; EXPLAIN does not show it.
CASCADE = """
    DELETE FROM items
    WHERE org_id = %(org)s AND user_id = %(user)s AND thread_id = %(thread)s
"""


def of_owner(number: int) -> dict[str, Any]:
    thread = f"thr_{number}_1"
    item = f"msg_{thread}_2"
    mine = {"user": f"user_{number}", "thread": thread, "item": item, "after": item}
    last = {"last_org": "", "last_user": f"user_{number}", "last_id": f"thr_{number}_9"}
    more = {"attachment": f"atc_{number}", "items": [item], "id": "", "seq": -1}
    return ANY | mine | last | more


def every_statement() -> dict[str, str]:
    """The statements of the store by name: a new one is looked at without being listed here."""
    found = {"CASCADE": CASCADE}
    for name, value in (vars(statements) | vars(retention_statements)).items():
        if name.startswith("_"):
            continue
        if isinstance(value, str):
            found[name] = value
        elif isinstance(value, dict):
            found |= {f"{name}-{'-'.join(map(str, key))}": text for key, text in value.items()}
    if find_spec(
        "app.core.production"
    ):  # where usage is counted, too; USERS adds up what everybody used
        usage = import_module("app.core.production.ops.usage_store")
        for name in ("ADD", "OF_A_DAY", "DAYS"):
            found[name] = usage.statement(getattr(usage, name), "%({})s")
    return {name: text for name, text in found.items() if name not in NO_INDEX}


STATEMENTS = every_statement()


@pytest.fixture(scope="module")
def connection(_clean_environment: None) -> Iterator[psycopg.Connection]:
    """A database with a few owners, who have a few threads each; one thread is long."""
    with psycopg.connect(fresh()["database_url"], autocommit=True) as connection:
        connection.execute(FILL.encode())
        [made] = connection.execute("SELECT count(*) FROM items").fetchone() or [0]
        assert made == (OWNERS * THREADS - 1) * ITEMS + LONG
        yield connection


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def is_page(plan: dict[str, Any]) -> bool:
    """Whether all that the plan gives comes through a LIMIT."""
    parts = plan.get("Plans", ())
    return plan["Node Type"] == "Limit" or (bool(parts) and all(map(is_page, parts)))


def faults(explained: list[tuple[Any]]) -> list[str]:
    """What in a plan grows with the tables: scans without an index, sorts, rows passed over."""
    found: list[str] = []
    for node in nodes(explained[0][0][0]["Plan"]):
        kind, passed_over = node["Node Type"], node.get("Filter", "")
        table = node.get("Relation Name")
        if table and kind not in (*BY_INDEX, "ModifyTable"):
            found.append(f"{kind} of {table}")
        if "right(" in passed_over.replace('"', ""):  # of one thread, where a cursor's item is gone
            continue
        if table and (KEY.search(passed_over) or "is_hidden" in passed_over):
            found.append(f"{kind} of {table} with {passed_over}")
        if "Sort" in kind and not is_page(node["Plans"][0]):
            found.append(f"{kind} by {node['Sort Key']}")
    return found


@pytest.mark.parametrize("number", [1, 500], ids=["long", "usual"])
@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_runs_by_an_index(
    connection: psycopg.Connection, name: str, number: int
) -> None:
    explain = f"EXPLAIN (FORMAT JSON) {STATEMENTS[name]}"
    plan = connection.execute(explain.encode(), of_owner(number)).fetchall()
    assert faults(plan) == []


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_prepared_statement_runs_by_an_index(connection: psycopg.Connection, name: str) -> None:
    """The plan that has to do for all values: DATABASE_PREPARE can lead to it."""
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", STATEMENTS[name])))
    text = re.sub(r"%\((\w+)\)s", lambda m: f"${names.index(m[1]) + 1}", STATEMENTS[name])
    nulls = ", ".join(["NULL"] * len(names))
    connection.execute("SET plan_cache_mode = force_generic_plan")
    connection.execute(f"PREPARE looked_at AS {text}".encode())
    try:
        explain = f"EXPLAIN (FORMAT JSON) EXECUTE looked_at ({nulls})"
        assert faults(connection.execute(explain.encode()).fetchall()) == []
    finally:
        connection.execute("DEALLOCATE looked_at")
        connection.execute("RESET plan_cache_mode")
