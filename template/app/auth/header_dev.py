"""How to send a message as somebody whom the proxy names, while there is no proxy.

The template's file: improvements arrive through `copier update`.
"""

from .curl import curl, development, sender
from .header import PROOF, HeaderSettings


def main() -> None:
    """Print a `curl` that comes from `dev`, or from the user whom the command names."""
    settings = development(HeaderSettings)
    proof = ("-H", f"{PROOF}: {settings.proof}") if settings.proof else ()
    print(curl("-H", f"{settings.auth_header}: {sender()}", *proof))
