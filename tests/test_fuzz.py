"""10,000 requests at random against one project; each project sends itself some hundred."""

from pathlib import Path

from .rendering import run
from .test_process import agent
from .warm import stand_in

__all__ = ["agent"]


def test_ten_thousand_requests_break_nothing(agent: Path) -> None:
    command = (stand_in(), "-m", "pytest", "-q", "tests/core/http/test_fuzz.py")
    run(*command, cwd=agent, FUZZ_REQUESTS="10000", PYTHONDONTWRITEBYTECODE="1")
