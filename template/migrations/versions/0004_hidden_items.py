"""Pages for clients: an index of the items that are not hidden.

No column, so that this locks no reader out, and what processes of the version before write during
a rollout is in the index too. Writers wait while it is built.

The template's file: improvements arrive through `copier update`.
"""

from alembic import op

revision, down_revision = "0004", "0003"

UP = [
    # By the beginning of the text: PostgreSQL reads no field of a json in which U+0000 occurs.
    r"""
    CREATE OR REPLACE FUNCTION is_hidden(data json) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$
    BEGIN
        RETURN left(data::text, 1000) ~ (
            '^\{"id":"([^"\\]|\\.)*","thread_id":"([^"\\]|\\.)*","created_at":"[^"]*",'
            '"type":"(hidden_context_item|sdk_hidden_context)"'
        );
    END $$
    """,
    """
    CREATE INDEX IF NOT EXISTS items_shown ON items (org_id, user_id, thread_id, seq)
    WHERE NOT is_hidden(data)
    """,
]


def upgrade() -> None:
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP INDEX items_shown")
    op.execute("DROP FUNCTION is_hidden(json)")
