"""The doctor as a deployment runs it: a process beside the server, an exit code."""

import json
import subprocess
from pathlib import Path

from .matrix import name_of
from .test_process import serving
from .test_redis import UVICORN
from .warm import stand_in

ANSWERS = {"level": "production", "auth": "header", "store": "memory", "model": "openai"}


def doctor(project: Path, *options: str) -> tuple[int, str]:
    command = [stand_in(), "-m", "app", "doctor", *options]
    ended = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert ended.stderr == ""
    return ended.returncode, ended.stdout


def test_a_deployment_is_found_well_and_then_not(projects: dict[str, Path], tmp_path: Path) -> None:
    project = projects[name_of(ANSWERS)]
    with serving(project, tmp_path / "log", *UVICORN) as (url, _):
        code, said = doctor(project, "--url", url, "--json")
        assert (code, json.loads(said)["ok"]) == (0, True), said
        assert json.loads(said)["checks"][-1]["state"] == "ok", said
    code, said = doctor(project, "--url", url)
    assert code == 1
    assert "failed   stream    Nothing answers there" in said
