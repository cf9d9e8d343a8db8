"""`uv run python -m app.auth.dev` prints a ready `curl`, with what makes its sender known.

The template's file: improvements arrive through `copier update`.
"""

from .anonymous_dev import main

if __name__ == "__main__":
    main()
