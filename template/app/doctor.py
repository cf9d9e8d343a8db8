"""`uv run python -m app.doctor --help`: what keeps this server from answering, and how to mend it.

The template's file: improvements arrive through `copier update`.
"""

from .ops.doctor import main

if __name__ == "__main__":
    main()
