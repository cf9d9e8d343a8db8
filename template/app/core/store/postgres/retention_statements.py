"""The SQL of `app/data.py` for PostgreSQL; retention.py says what each statement gives."""

from ..sql.deletion_sql import sweeps
from .statements import _THREAD

ORGANISATIONS = """
    SELECT org_id FROM threads WHERE user_id = %(user)s
    UNION SELECT org_id FROM attachments WHERE user_id = %(user)s
    UNION SELECT org_id FROM usage WHERE user_id = %(user)s ORDER BY org_id
"""

COUNT = """
    SELECT (SELECT count(*) FROM threads WHERE (org_id, user_id) = (%(org)s, %(user)s)),
        (SELECT count(*) FROM items WHERE (org_id, user_id) = (%(org)s, %(user)s)),
        (SELECT count(*) FROM attachments WHERE (org_id, user_id) = (%(org)s, %(user)s)),
        (SELECT count(*) FROM usage WHERE (org_id, user_id) = (%(org)s, %(user)s))
"""

SIZE = """
    SELECT (SELECT count(*) FROM threads) + (SELECT count(*) FROM attachments)
        + (SELECT count(*) FROM usage)
"""

CONVERSATIONS = f"""
    (
        SELECT 'thread', id AS thread_id, -1 AS seq, {_THREAD} FROM threads
        WHERE (org_id, user_id) = (%(org)s, %(user)s) AND id > %(id)s
        ORDER BY id LIMIT %(rows)s
    ) UNION ALL (
        SELECT 'item', thread_id, seq, data::text FROM items
        WHERE (org_id, user_id) = (%(org)s, %(user)s) AND (thread_id, seq) > (%(id)s, %(seq)s)
        ORDER BY thread_id, seq LIMIT %(rows)s
    ) ORDER BY thread_id, seq LIMIT %(rows)s
"""

ATTACHMENTS = """
    SELECT 'attachment', id, 0, data::text FROM attachments
    WHERE (org_id, user_id) = (%(org)s, %(user)s) AND id > %(id)s ORDER BY id LIMIT %(rows)s
"""

FEEDBACK = """
    SELECT 'feedback', thread_id, item_id, json_build_object(
        'thread_id', thread_id, 'item_id', item_id, 'kind', kind, 'created_at', created_at
    )::text FROM feedback
    WHERE (org_id, user_id) = (%(org)s, %(user)s) AND (thread_id, item_id) > (%(id)s, %(item)s)
    ORDER BY thread_id, item_id LIMIT %(rows)s
"""

USAGE = """
    SELECT 'usage', day, 0, json_build_object(
        'day', day, 'turns', turns, 'requests', requests,
        'input_tokens', input_tokens, 'cached_tokens', cached_tokens,
        'output_tokens', output_tokens, 'reasoning_tokens', reasoning_tokens
    )::text FROM usage
    WHERE (org_id, user_id) = (%(org)s, %(user)s) AND day > %(id)s ORDER BY day LIMIT %(rows)s
"""

_BEFORE = "now() - make_interval(secs => %(seconds)s)"

# A thread by its last change, unless a turn is running in it.
_OLD = f"updated_at < {_BEFORE} AND (leased_until IS NULL OR leased_until < clock_timestamp())"

# An attachment by its own age, unless it is a thread's that stays. The thread is found in the text
# because PostgreSQL reads no field of a json in which U+0000 occurs anywhere.
_UNUSED = f"""
    created_at < {_BEFORE} AND NOT EXISTS (
        SELECT FROM threads AS kept
        WHERE (kept.org_id, kept.user_id) = (attachments.org_id, attachments.user_id)
            AND kept.id = substring(data::text FROM '"thread_id":"([^"]+)"') AND NOT ({_OLD})
    )
"""

# A day that was over by then.
_PAST = "day < to_char(now() AT TIME ZONE 'UTC' - make_interval(secs => %(seconds)s), 'YYYY-MM-DD')"

LOOK, REMOVE = sweeps("%({})s", _OLD, _UNUSED, _PAST)
