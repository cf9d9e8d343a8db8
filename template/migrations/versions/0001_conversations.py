"""Threads, their items, and attachments. Every key begins with the owner.

The template's file: improvements arrive through `copier update`.
"""

from alembic import op

revision, down_revision = "0001", None

# json keeps every text as it came; jsonb would refuse U+0000 and write numbers in its own way.
UP = [
    """
    CREATE TABLE threads (
        org_id text COLLATE "C" NOT NULL,
        user_id text COLLATE "C" NOT NULL,
        id text COLLATE "C" NOT NULL,
        created_at timestamp NOT NULL,
        updated_at timestamptz NOT NULL DEFAULT now(),
        title text,
        status json NOT NULL,
        allowed_image_domains json NOT NULL,
        metadata json NOT NULL,
        next_seq bigint NOT NULL DEFAULT 0,
        generation bigint NOT NULL DEFAULT 0,
        leased_until timestamptz,
        PRIMARY KEY (org_id, user_id, id)
    )
    """,
    """
    CREATE TABLE items (
        org_id text COLLATE "C" NOT NULL,
        user_id text COLLATE "C" NOT NULL,
        thread_id text COLLATE "C" NOT NULL,
        id text COLLATE "C" NOT NULL,
        seq bigint NOT NULL,
        data json NOT NULL,
        PRIMARY KEY (org_id, user_id, thread_id, id),
        UNIQUE (org_id, user_id, thread_id, seq),
        FOREIGN KEY (org_id, user_id, thread_id) REFERENCES threads ON DELETE CASCADE
    )
    """,
    # A thread has one owner. Else a planner expects a row of each thread, and finds one item by
    # reading all of its thread's.
    """
    CREATE STATISTICS items_of_a_thread (dependencies)
    ON org_id, user_id, thread_id FROM items
    """,
    """
    CREATE TABLE attachments (
        org_id text COLLATE "C" NOT NULL,
        user_id text COLLATE "C" NOT NULL,
        id text COLLATE "C" NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        data json NOT NULL,
        PRIMARY KEY (org_id, user_id, id)
    )
    """,
]


def upgrade() -> None:
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE attachments, items, threads")
