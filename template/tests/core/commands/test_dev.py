"""The helper for development makes a request that is let in at once, and never in production."""

import os
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.core.application import create_app
from app.core.settings import Settings
from app.server import Server

from ..fixtures import RunningServer
from ..stores import fresh

PROJECT = Path(__file__).resolve().parents[3]


def helper(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m app dev` in an empty folder."""
    return subprocess.run(
        [sys.executable, "-m", "app", "dev"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(PROJECT)} | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_what_it_prints_is_answered_by_a_server_without_settings(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(open_folder)
    line = helper(open_folder)
    assert (line.returncode, line.stderr) == (0, "")
    words = shlex.split(line.stdout)
    fields = [word for flag, word in pairwise(words) if flag == "-H"]
    headers = dict(field.split(": ", 1) for field in fields)

    nothing: Any = {"_env_file": None}
    server = RunningServer(create_app(Server, settings=Settings(**nothing | fresh())))
    server.start()
    try:
        body = words[words.index("-d") + 1]
        printed = "http://127.0.0.1:8000"  # where a page of the server's own would come from
        headers = {name: value.replace(printed, server.url) for name, value in headers.items()}
        answer = httpx.post(f"{server.url}/chatkit", content=body, headers=headers, timeout=20)
    finally:
        server.stop(0)
    assert words[0] == "curl"
    assert answer.status_code == 200
    assert "assistant_message" in answer.text


def test_it_refuses_to_run_in_production_and_leaves_nothing_behind(open_folder: Path) -> None:
    refused = helper(open_folder, APP_ENV="production")
    assert refused.returncode == 1
    assert refused.stderr == "APP_ENV is production: this is for development only.\n"
    assert refused.stdout == ""
    assert not any(open_folder.iterdir())


def test_a_setting_that_does_not_fit_is_a_sentence_here_too(open_folder: Path) -> None:
    refused = helper(open_folder, LOG_LEVEL="LOUD")
    assert refused.returncode == 1
    assert refused.stderr.startswith("LOG_LEVEL does not fit")


def test_it_is_for_another_address_where_that_is_named(open_folder: Path) -> None:
    line = helper(open_folder, URL="http://127.0.0.1:8001/chat/")
    assert (line.returncode, line.stderr) == (0, "")
    assert " http://127.0.0.1:8001/chat/chatkit " in line.stdout
    assert "127.0.0.1:8000" not in line.stdout
