"""A throw-away key, so that tokens work in development without an identity provider."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

DEV_KEY = Path("data", "jwt_dev.key")  # 32 random bytes: RFC 8032, section 5.1.5


def dev_key() -> Ed25519PrivateKey:
    """This folder's key, made on first use; it counts in development alone, without JWT_* keys."""
    if not DEV_KEY.exists():
        DEV_KEY.parent.mkdir(parents=True, exist_ok=True)
        draft = DEV_KEY.with_name(f"{DEV_KEY.name}.{os.getpid()}")
        draft.touch(0o600)
        draft.write_bytes(secrets.token_bytes(32))
        with suppress(FileExistsError):  # another process was faster: its key counts
            os.link(draft, DEV_KEY)
        draft.unlink()
    return Ed25519PrivateKey.from_private_bytes(DEV_KEY.read_bytes())
