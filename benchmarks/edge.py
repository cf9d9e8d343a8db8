"""What the whole edge costs: a project with one way of knowing people, against the bare SDK.

    uv run python benchmarks/edge.py [--auth jwt] [--rounds N] [--quick]

As `overhead.py` compares them, with all of it on: people are known by their headers or cookie,
requests are counted, and each is a line in the log. Exit status 1 when a ratio misses its bound.
"""

import argparse
import sys

from overhead import ANSWERS, HERE, measure

sys.path.insert(0, str(HERE.parent))

from tests.matrix import choices, questions


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the edge against the bare SDK.")
    styles = choices(questions()["auth"])
    parser.add_argument("--auth", choices=styles, default="jwt" if "jwt" in styles else styles[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="shorter rounds, wider spread")
    options = parser.parse_args()
    answers = ANSWERS | {"auth": options.auth}
    measure(options.rounds, options.quick, "bare", answers, listing=0.6, log_level="INFO")


if __name__ == "__main__":
    main()
