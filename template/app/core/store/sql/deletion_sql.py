"""The SQL by which rows are looked at and removed in turn, the same for both databases."""

Sweeps = dict[tuple[str, bool], str]  # by a table, and whether it is about anybody's rows

# Rows after a key: one owner's, and anybody's.
_OWNED = "(org_id, user_id) = ({org}, {user}) AND {key} > {id}"
_ANYBODYS = "(org_id, user_id, {key}) > ({org}, {user}, {id})"

_LOOK = """
    SELECT org_id, user_id, {key}, CASE WHEN {taken} THEN {items} END FROM {table}
    WHERE {after} ORDER BY org_id, user_id, {key} LIMIT {rows}
"""
# Between two keys that LOOK has given; they are one owner's where it was about one.
_REMOVE = """
    DELETE FROM {table}
    WHERE {anybodys} AND (org_id, user_id, {key}) <= ({last_org}, {last_user}, {last_id})
        AND {taken}
    RETURNING org_id, user_id, {key}
"""
_ITEMS_OF_IT = """(
    SELECT count(*) FROM items
    WHERE (items.org_id, items.user_id) = (threads.org_id, threads.user_id)
        AND items.thread_id = threads.id
)"""
_VALUES = ("org", "user", "id", "last_org", "last_user", "last_id", "rows")


def sweeps(parameter: str, old: str, unused: str, past: str) -> tuple[Sweeps, Sweeps]:
    """LOOK and REMOVE, as retention.py describes them.

    `parameter` is how the database names a value; then which threads, attachments and days go.
    """
    look, remove = Sweeps(), Sweeps()
    tables = (
        ("threads", "id", _ITEMS_OF_IT, old),
        ("attachments", "id", "0", unused),
        ("usage", "day", "0", past),
    )
    for table, key, items, aged in tables:
        named = {name: parameter.format(name) for name in _VALUES} | {"table": table, "key": key}
        owned, anybodys = _OWNED.format(**named), _ANYBODYS.format(**named)
        named |= {"items": items, "anybodys": anybodys}
        for about_all, after, taken in ((False, owned, "true"), (True, anybodys, aged)):
            look[table, about_all] = _LOOK.format(after=after, taken=taken, **named)
            remove[table, about_all] = _REMOVE.format(taken=taken, **named)
    return look, remove
