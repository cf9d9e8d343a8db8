"""The SQL of the PostgreSQL store. Every statement carries its owner: org and user."""

_THREAD = """
    json_build_object('id', id, 'created_at', created_at, 'title', title, 'status', status,
                      'allowed_image_domains', allowed_image_domains, 'metadata', metadata)::text
"""

# The revision of ours that the schema is at, how many it has in all, and whether it can only be
# read: where those are another program's, none is ours. The first finds tables by our names alone;
# ours begin with their owner.
TAKEN = """
    SELECT NULL, 1, NULL FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attnum = 1
    WHERE relnamespace::regnamespace::text = quote_ident(current_schema()) AND attname <> 'org_id'
        AND relname IN ('threads', 'items', 'attachments', 'feedback', 'usage') LIMIT 1
"""
VERSION = """
    SELECT max(substring(version_num, '^[0-9]{4}$'))
        FILTER (WHERE to_regclass('threads') IS NOT NULL), count(*),
        current_setting('transaction_read_only')::bool
    FROM alembic_version
"""

LOAD_THREAD = f"""
    SELECT {_THREAD} FROM threads WHERE (org_id, user_id) = (%(org)s, %(user)s) AND id = %(thread)s
"""

# A thread that is there already keeps its generation, unless the turn that saves it takes it.
SAVE_THREAD = """
    INSERT INTO threads (org_id, user_id, id, created_at, title, status, allowed_image_domains,
                         metadata, generation, leased_until)
    VALUES (%(org)s, %(user)s, %(thread)s, %(created_at)s, %(title)s, %(status)s,
            %(allowed_image_domains)s, %(metadata)s, %(lease)s,
            clock_timestamp() + make_interval(secs => %(seconds)s))
    ON CONFLICT (org_id, user_id, id) DO UPDATE SET
        created_at = excluded.created_at,
        title = excluded.title,
        status = excluded.status,
        allowed_image_domains = excluded.allowed_image_domains,
        metadata = excluded.metadata,
        generation = threads.generation + excluded.generation,
        leased_until = coalesce(excluded.leased_until, threads.leased_until),
        updated_at = now()
    RETURNING generation
"""

# Of a write: whether it took place, and the generation that the thread is at, if there is one.
_OUTCOME = """
    SELECT EXISTS (SELECT FROM written), (
        SELECT generation FROM threads
        WHERE (org_id, user_id) = (%(org)s, %(user)s) AND id = %(thread)s
    )
"""

UPDATE_THREAD = f"""
    WITH written AS (
        UPDATE threads SET
            created_at = coalesce(%(created_at)s, created_at),
            title = CASE WHEN %(retitled)s THEN %(title)s ELSE title END,
            status = coalesce(%(status)s, status),
            allowed_image_domains = coalesce(%(allowed_image_domains)s, allowed_image_domains),
            metadata = coalesce(%(metadata)s, metadata),
            updated_at = now()
        WHERE (org_id, user_id) = (%(org)s, %(user)s) AND id = %(thread)s
            AND generation = coalesce(%(generation)s, generation)
        RETURNING 1
    ) {_OUTCOME}
"""

TAKE_LEASE = f"""
    WITH taken AS (
        UPDATE threads SET
            generation = generation + 1,
            leased_until = clock_timestamp() + make_interval(secs => %(seconds)s)
        WHERE (org_id, user_id) = (%(org)s, %(user)s) AND id = %(thread)s
            AND status ->> 'type' = 'active'
            AND (leased_until IS NULL OR leased_until < clock_timestamp())
        RETURNING generation
    )
    SELECT {_THREAD}, (SELECT generation FROM taken) FROM threads
    WHERE (org_id, user_id) = (%(org)s, %(user)s) AND id = %(thread)s
"""

RENEW_LEASE = """
    UPDATE threads SET leased_until = clock_timestamp() + make_interval(secs => %(seconds)s)
    WHERE (org_id, user_id) = (%(org)s, %(user)s) AND id = %(thread)s
        AND generation = %(generation)s
    RETURNING 1
"""

RELEASE_LEASE = """
    UPDATE threads SET leased_until = NULL
    WHERE (org_id, user_id) = (%(org)s, %(user)s) AND id = %(thread)s
        AND generation = %(generation)s
    RETURNING 1
"""

DELETE_THREAD = """
    DELETE FROM threads WHERE (org_id, user_id) = (%(org)s, %(user)s) AND id = %(thread)s
    RETURNING 1
"""

# The thread's row hands out the places of its items, and makes its writers take turns.
SAVE_ITEM = f"""
    WITH thread AS (
        UPDATE threads SET next_seq = next_seq + 1, updated_at = now()
        WHERE (org_id, user_id) = (%(org)s, %(user)s) AND id = %(thread)s
            AND generation = coalesce(%(generation)s, generation)
        RETURNING next_seq
    ), written AS (
        INSERT INTO items (org_id, user_id, thread_id, id, seq, data)
        SELECT %(org)s, %(user)s, %(thread)s, %(item)s, next_seq, %(data)s FROM thread
        ON CONFLICT (org_id, user_id, thread_id, id) DO UPDATE SET data = excluded.data
        RETURNING 1
    ) {_OUTCOME}
"""

LOAD_ITEM = """
    SELECT data::text FROM items
    WHERE (org_id, user_id) = (%(org)s, %(user)s) AND thread_id = %(thread)s AND id = %(item)s
"""

DELETE_ITEM = f"""
    WITH thread AS (
        UPDATE threads SET updated_at = now()
        WHERE (org_id, user_id) = (%(org)s, %(user)s) AND id = %(thread)s
            AND generation = coalesce(%(generation)s, generation)
        RETURNING 1
    ), written AS (
        DELETE FROM items USING thread
        WHERE (org_id, user_id) = (%(org)s, %(user)s) AND thread_id = %(thread)s
            AND id = %(item)s
        RETURNING 1
    ) {_OUTCOME}
"""

SAVE_ATTACHMENT = """
    INSERT INTO attachments (org_id, user_id, id, data)
    VALUES (%(org)s, %(user)s, %(attachment)s, %(data)s)
    ON CONFLICT (org_id, user_id, id) DO UPDATE SET data = excluded.data
    RETURNING 1
"""

LOAD_ATTACHMENT = """
    SELECT data::text FROM attachments
    WHERE (org_id, user_id) = (%(org)s, %(user)s) AND id = %(attachment)s
"""

DELETE_ATTACHMENT = """
    DELETE FROM attachments
    WHERE (org_id, user_id) = (%(org)s, %(user)s) AND id = %(attachment)s
    RETURNING 1
"""

# It outlives its item, which another try at the answer may take away.
SAVE_FEEDBACK = """
    INSERT INTO feedback (org_id, user_id, thread_id, item_id, kind)
    SELECT %(org)s, %(user)s, %(thread)s, known.id, %(kind)s
    FROM unnest(%(items)s::text[]) AS wanted CROSS JOIN LATERAL (
        SELECT id FROM items
        WHERE (org_id, user_id) = (%(org)s, %(user)s) AND thread_id = %(thread)s AND id = wanted
        LIMIT 1
    ) AS known
    ON CONFLICT (org_id, user_id, thread_id, item_id)
    DO UPDATE SET kind = excluded.kind, created_at = now()
    RETURNING 1
"""

LOAD_FEEDBACK = """
    SELECT item_id, kind FROM feedback
    WHERE (org_id, user_id) = (%(org)s, %(user)s) AND thread_id = %(thread)s
"""


def _threads(order: str, where: str) -> str:
    return f"""
        SELECT {_THREAD} FROM threads WHERE (org_id, user_id) = (%(org)s, %(user)s) {where}
        ORDER BY id {order} LIMIT %(rows)s
    """


def _items(order: str, where: str, is_for_client: bool) -> str:
    shown = "AND NOT is_hidden(data)" if is_for_client else ""
    return f"""
        SELECT data::text FROM items
        WHERE (org_id, user_id) = (%(org)s, %(user)s) AND thread_id = %(thread)s {shown} {where}
        ORDER BY seq {order} LIMIT %(rows)s
    """


_THE_ITEM = """
    SELECT seq FROM items
    WHERE (org_id, user_id) = (%(org)s, %(user)s) AND thread_id = %(thread)s AND id = %(after)s
"""
# An item that is gone stood after those whose ids are older, if its id is one of ours (`own`).
_OLDER = """
    SELECT max(seq) FROM items
    WHERE (org_id, user_id) = (%(org)s, %(user)s) AND thread_id = %(thread)s
        AND right(id, 32) < right(%(after)s, 32)
"""


def _items_after(order: str, beyond: str, is_for_client: bool) -> str:
    """No row says that the cursor is unknown; one row without a text, that nothing follows it."""
    gone = f"({_OLDER}) + 1" if order == "desc" else f"({_OLDER})"
    following = _items(order, f"AND seq {beyond} cursor.seq", is_for_client)
    return f"""
        SELECT following.data FROM (
            SELECT coalesce(({_THE_ITEM}), CASE WHEN %(own)s THEN coalesce({gone}, -1) END) AS seq
        ) AS cursor
        LEFT JOIN LATERAL ({following}) AS following ON true WHERE cursor.seq IS NOT NULL
    """


# By order, and whether the page follows a cursor; items also by whether it is for the client.
THREADS = {
    ("asc", False): _threads("ASC", ""),
    ("desc", False): _threads("DESC", ""),
    ("asc", True): _threads("ASC", "AND id > %(after)s"),
    ("desc", True): _threads("DESC", "AND id < %(after)s"),
}
ITEMS = {
    (order, follows, is_for_client): _items_after(order, beyond, is_for_client)
    if follows
    else _items(order, "", is_for_client)
    for order, beyond in (("asc", ">"), ("desc", "<"))
    for follows in (False, True)
    for is_for_client in (False, True)
}
