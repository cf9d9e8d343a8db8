"""How to send a message as a visitor, while there is no page that does.

The template's file: improvements arrive through `copier update`.
"""

from .anonymous import AnonymousSettings
from .curl import curl, development


def main() -> None:
    """Print a `curl`; its jar keeps the cookie that makes one the same visitor next time."""
    development(AnonymousSettings)
    print(curl("-c", "jar", "-b", "jar"))
