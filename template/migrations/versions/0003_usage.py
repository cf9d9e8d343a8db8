"""What people used, by day.

The template's file: improvements arrive through `copier update`.
"""

from alembic import op

revision, down_revision = "0003", "0002"

UP = [
    """
    CREATE TABLE usage (
        org_id text COLLATE "C" NOT NULL,
        user_id text COLLATE "C" NOT NULL,
        day text COLLATE "C" NOT NULL,
        turns bigint NOT NULL,
        requests bigint NOT NULL,
        input_tokens bigint NOT NULL,
        cached_tokens bigint NOT NULL,
        output_tokens bigint NOT NULL,
        reasoning_tokens bigint NOT NULL,
        last_turn text NOT NULL,
        PRIMARY KEY (org_id, user_id, day)
    )
    """,
]


def upgrade() -> None:
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE usage")
