"""The SQL of the SQLite store. Every statement carries its owner: org and user."""

from collections.abc import Iterable

from ..sql.deletion_sql import sweeps

NOW = "strftime('%Y-%m-%d %H:%M:%f', 'now')"  # UTC in milliseconds; sorts as it reads
_LATER = "strftime('%Y-%m-%d %H:%M:%f', 'now', :seconds || ' seconds')"

_THREAD = """
    json_object('id', id, 'created_at', created_at, 'title', title, 'status', json(status),
                'allowed_image_domains', json(allowed_image_domains), 'metadata', json(metadata))
"""

LOAD_THREAD = f"""
    SELECT {_THREAD} FROM threads WHERE (org_id, user_id) = (:org, :user) AND id = :thread
"""

# A thread that is there already keeps its generation, unless the turn that saves it takes it.
SAVE_THREAD = f"""
    INSERT INTO threads (org_id, user_id, id, created_at, title, status, allowed_image_domains,
                         metadata, generation, leased_until)
    VALUES (:org, :user, :thread, :created_at, :title, :status, :allowed_image_domains,
            :metadata, :seconds IS NOT NULL, {_LATER})
    ON CONFLICT (org_id, user_id, id) DO UPDATE SET
        created_at = excluded.created_at,
        title = excluded.title,
        status = excluded.status,
        allowed_image_domains = excluded.allowed_image_domains,
        metadata = excluded.metadata,
        generation = generation + excluded.generation,
        leased_until = coalesce(excluded.leased_until, leased_until),
        updated_at = excluded.updated_at
    RETURNING generation
"""


def update_thread(columns: Iterable[str]) -> str:
    """Change these columns of a thread, unless another turn has taken it over."""
    changes = "".join(f"{name} = :{name}, " for name in columns)
    return f"""
        UPDATE threads SET {changes} updated_at = {NOW}
        WHERE (org_id, user_id) = (:org, :user) AND id = :thread
            AND generation = coalesce(:generation, generation)
        RETURNING 1
    """


TAKE_LEASE = f"""
    UPDATE threads SET generation = generation + 1, leased_until = {_LATER}
    WHERE (org_id, user_id) = (:org, :user) AND id = :thread
        AND json_extract(status, '$.type') = 'active'
        AND (leased_until IS NULL OR leased_until < {NOW})
    RETURNING {_THREAD}, generation
"""

RENEW_LEASE = f"""
    UPDATE threads SET leased_until = {_LATER}
    WHERE (org_id, user_id) = (:org, :user) AND id = :thread AND generation = :generation
    RETURNING 1
"""

RELEASE_LEASE = """
    UPDATE threads SET leased_until = NULL
    WHERE (org_id, user_id) = (:org, :user) AND id = :thread AND generation = :generation
"""

GENERATION = """
    SELECT generation FROM threads WHERE (org_id, user_id) = (:org, :user) AND id = :thread
"""

DELETE_THREAD = """
    DELETE FROM threads WHERE (org_id, user_id) = (:org, :user) AND id = :thread RETURNING 1
"""

# The thread's row hands out the places of its items; triggers keep it up to date.
SAVE_ITEM = """
    INSERT INTO items (org_id, user_id, thread_id, seq, id, data)
    SELECT org_id, user_id, id, next_seq, :item, :data FROM threads
    WHERE (org_id, user_id) = (:org, :user) AND id = :thread
        AND generation = coalesce(:generation, generation)
    ON CONFLICT (org_id, user_id, thread_id, id) DO UPDATE SET data = excluded.data
    RETURNING 1
"""

LOAD_ITEM = """
    SELECT data FROM items
    WHERE (org_id, user_id) = (:org, :user) AND thread_id = :thread AND id = :item
"""

DELETE_ITEM = """
    DELETE FROM items
    WHERE (org_id, user_id) = (:org, :user) AND thread_id = :thread AND id = :item
        AND EXISTS (
            SELECT 1 FROM threads WHERE (org_id, user_id) = (:org, :user) AND id = :thread
                AND generation = coalesce(:generation, generation)
        )
    RETURNING 1
"""

SAVE_ATTACHMENT = """
    INSERT INTO attachments (org_id, user_id, id, data)
    VALUES (:org, :user, :attachment, :data)
    ON CONFLICT (org_id, user_id, id) DO UPDATE SET data = excluded.data
"""

LOAD_ATTACHMENT = """
    SELECT data FROM attachments WHERE (org_id, user_id) = (:org, :user) AND id = :attachment
"""

DELETE_ATTACHMENT = """
    DELETE FROM attachments WHERE (org_id, user_id) = (:org, :user) AND id = :attachment
    RETURNING 1
"""

# It outlives its item, which another try at the answer may take away.
SAVE_FEEDBACK = f"""
    INSERT INTO feedback (org_id, user_id, thread_id, item_id, kind)
    SELECT org_id, user_id, thread_id, id, :kind FROM items
    WHERE (org_id, user_id) = (:org, :user) AND thread_id = :thread
        AND id IN (SELECT value FROM json_each(:items))
    ON CONFLICT (org_id, user_id, thread_id, item_id)
    DO UPDATE SET kind = excluded.kind, created_at = {NOW}
"""

LOAD_FEEDBACK = """
    SELECT item_id, kind FROM feedback
    WHERE (org_id, user_id) = (:org, :user) AND thread_id = :thread
"""


def _threads(order: str, where: str) -> str:
    return f"""
        SELECT {_THREAD} FROM threads WHERE (org_id, user_id) = (:org, :user) {where}
        ORDER BY id {order} LIMIT :rows
    """


# As the index items_shown has it, word for word: SQLite compares the texts.
SHOWN = "json_extract(data, '$.type') NOT IN ('hidden_context_item', 'sdk_hidden_context')"


def _items(order: str, where: str, is_for_client: bool) -> str:
    shown = ("INDEXED BY items_shown", f"AND {SHOWN}") if is_for_client else ("", "")
    return f"""
        SELECT data FROM items {shown[0]}
        WHERE (org_id, user_id) = (:org, :user) AND thread_id = :thread {shown[1]} {where}
        ORDER BY seq {order} LIMIT :rows
    """


_THE_ITEM = """
    SELECT seq FROM items
    WHERE (org_id, user_id) = (:org, :user) AND thread_id = :thread AND id = :after
"""
# An item that is gone stood after those whose ids are older, if its id is one of ours (`own`).
_OLDER = """
    SELECT max(seq) FROM items
    WHERE (org_id, user_id) = (:org, :user) AND thread_id = :thread
        AND substr(id, -32) < substr(:after, -32)
"""
_AFTER = f"coalesce(({_THE_ITEM}), CASE WHEN :own THEN coalesce(({_OLDER}), -1) END)"
_BEFORE_IT = f"coalesce(({_THE_ITEM}), CASE WHEN :own THEN coalesce(({_OLDER}) + 1, -1) END)"

# By order, and whether the page follows a cursor; items also by whether it is for the client.
THREADS = {
    ("asc", False): _threads("ASC", ""),
    ("desc", False): _threads("DESC", ""),
    ("asc", True): _threads("ASC", "AND id > :after"),
    ("desc", True): _threads("DESC", "AND id < :after"),
}
ITEMS = {
    (order, follows, is_for_client): _items(order, where if follows else "", is_for_client)
    for order, where in (("asc", f"AND seq > {_AFTER}"), ("desc", f"AND seq < {_BEFORE_IT}"))
    for follows in (False, True)
    for is_for_client in (False, True)
}


# What `app/data.py` asks for; retention.py says what each gives.

ORGANISATIONS = """
    SELECT org_id FROM threads WHERE user_id = :user
    UNION SELECT org_id FROM attachments WHERE user_id = :user
    UNION SELECT org_id FROM usage WHERE user_id = :user ORDER BY org_id
"""

COUNT = """
    SELECT (SELECT count(*) FROM threads WHERE (org_id, user_id) = (:org, :user)),
        (SELECT count(*) FROM items WHERE (org_id, user_id) = (:org, :user)),
        (SELECT count(*) FROM attachments WHERE (org_id, user_id) = (:org, :user)),
        (SELECT count(*) FROM usage WHERE (org_id, user_id) = (:org, :user))
"""

SIZE = """
    SELECT (SELECT count(*) FROM threads) + (SELECT count(*) FROM attachments)
        + (SELECT count(*) FROM usage)
"""

CONVERSATIONS = f"""
    SELECT * FROM (
        SELECT 'thread', id AS thread_id, -1 AS seq, {_THREAD} FROM threads
        WHERE (org_id, user_id) = (:org, :user) AND id > :id
        ORDER BY id LIMIT :rows
    ) UNION ALL SELECT * FROM (
        SELECT 'item', thread_id, seq, data FROM items
        WHERE (org_id, user_id) = (:org, :user) AND (thread_id, seq) > (:id, :seq)
        ORDER BY thread_id, seq LIMIT :rows
    ) ORDER BY thread_id, seq LIMIT :rows
"""

ATTACHMENTS = """
    SELECT 'attachment', id, 0, data FROM attachments
    WHERE (org_id, user_id) = (:org, :user) AND id > :id ORDER BY id LIMIT :rows
"""

FEEDBACK = """
    SELECT 'feedback', thread_id, item_id, json_object(
        'thread_id', thread_id, 'item_id', item_id, 'kind', kind, 'created_at', created_at
    ) FROM feedback
    WHERE (org_id, user_id) = (:org, :user) AND (thread_id, item_id) > (:id, :item)
    ORDER BY thread_id, item_id LIMIT :rows
"""

USAGE = """
    SELECT 'usage', day, 0, json_object(
        'day', day, 'turns', turns, 'requests', requests,
        'input_tokens', input_tokens, 'cached_tokens', cached_tokens,
        'output_tokens', output_tokens, 'reasoning_tokens', reasoning_tokens
    ) FROM usage
    WHERE (org_id, user_id) = (:org, :user) AND day > :id ORDER BY day LIMIT :rows
"""

_BEFORE = "strftime('%Y-%m-%d %H:%M:%f', 'now', -:seconds || ' seconds')"

# A thread by its last change, unless a turn is running in it.
_OLD = f"updated_at < {_BEFORE} AND (leased_until IS NULL OR leased_until < {NOW})"

# An attachment by its own age, unless it is a thread's that stays.
_UNUSED = f"""
    created_at < {_BEFORE} AND NOT EXISTS (
        SELECT 1 FROM threads AS kept
        WHERE (kept.org_id, kept.user_id) = (attachments.org_id, attachments.user_id)
            AND kept.id = json_extract(data, '$.thread_id') AND NOT ({_OLD})
    )
"""

# A day that was over by then.
_PAST = "day < date('now', -:seconds || ' seconds')"

LOOK, REMOVE = sweeps(":{}", _OLD, _UNUSED, _PAST)
