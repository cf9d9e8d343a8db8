"""What people think of items.

The template's file: improvements arrive through `copier update`.
"""

from alembic import op

revision, down_revision = "0002", "0001"

UP = [
    """
    CREATE TABLE feedback (
        org_id text COLLATE "C" NOT NULL,
        user_id text COLLATE "C" NOT NULL,
        thread_id text COLLATE "C" NOT NULL,
        item_id text COLLATE "C" NOT NULL,
        kind text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (org_id, user_id, thread_id, item_id),
        FOREIGN KEY (org_id, user_id, thread_id) REFERENCES threads ON DELETE CASCADE
    )
    """,
]


def upgrade() -> None:
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE feedback")
