"""What the owner of a project does to it within a week, and how Copier updates it then."""

import re
import sys
from pathlib import Path

import copier

from .matrix import Answers, check_keys, choices, questions
from .rendering import commit, run, tree

LEVELS = ["hello", "agent", "production"]  # from low to high

NEW_TOOL = '''

@function_tool
async def open_door(ctx: ToolContext) -> str:
    """Open the door."""
    return "It is open."
'''
# What takes the sample's place once there is something to do; the guides begin like this.
OWN_AGENT = '''"""Our agent."""

from agents import Agent, RunContextWrapper

from .core.agent import Context
from .tools import open_door


def instructions(ctx: RunContextWrapper[Context], agent: Agent[Context]) -> str:
    return f"You sell doors. Answer in the language {ctx.context.request_context.locale!r}."


assistant = Agent[Context](name="Doors", instructions=instructions, tools=[open_door])
'''
OWN_TOOLS = f'''"""Our tools."""

from agents import function_tool

from .core.agent import ToolContext
{NEW_TOOL}'''
NEW_METHOD = '''
    async def doors(self) -> int:
        """How many doors we have."""
        structlog.get_logger().info("counted")
        return DOORS
'''
# Made up, and nobody is asked for them; in a list that is sorted they would be all over it.
DEPENDENCIES = ["awnings", "gates", "hinges", "jambs", "nails", "paint", "screws", "zinc"]


def levels_up() -> list[tuple[str, str]]:
    """Each level with each higher one that there is."""
    offered = choices(questions()["level"])
    assert set(offered) <= set(LEVELS), "say in tests/updates.py how high the new level is"
    rising = [level for level in LEVELS if level in offered]
    return [(low, high) for at, low in enumerate(rising) for high in rising[at + 1 :]]


def edit(project: Path) -> None:
    """New instructions, a new tool, a method, a module, a paragraph, a dependency, a file less."""
    replace(project / "README.md", "\n## Start", "\nWe sell doors.\n\n## Start")
    add(project, "doors>=1")
    (project / "app" / "doors.py").write_text('"""Our doors."""\n\nDOORS = 2\n')
    (project / ".env").write_text("VISITOR_SECRET=mine\n")
    (project / "AGENTS.md").unlink()
    server = project / "app" / "server.py"
    server.write_text(server.read_text() + NEW_METHOD)
    if (project / "app" / "agent.py").exists():
        edit_agent(project)


def edit_beside_the_answers(project: Path) -> None:
    """What is added beside lines that an answer changes: dependencies, imports, a setting."""
    add(project, "limits[redis]", *DEPENDENCIES)
    add(project, "--dev", "hangings", "pots", "pytest-doors")
    server = project / "app" / "server.py"
    sdk, context = "from chatkit import types as ck\n", "from .core import Events, RequestContext\n"
    replace(server, sdk, f"import structlog\n{sdk}")
    replace(server, context, f"{context}from .doors import DOORS\n")
    settings = project / ".env.example"
    settings.write_text(settings.read_text() + "\n# What the shop is called.\nSHOP_NAME=Doors\n")


def add(project: Path, *arguments: str) -> None:
    """What `uv add` writes into pyproject.toml; without locking it asks nobody for anything."""
    quiet = "--frozen", "--offline", "--python", sys.executable
    run("uv", "add", *quiet, *arguments, cwd=project, VIRTUAL_ENV="")


def edit_agent(project: Path) -> None:
    agent, tools = project / "app" / "agent.py", project / "app" / "tools.py"
    replace(agent, "You are a helpful assistant.", "You sell doors.")
    replace(agent, "tools=[roll_dice", "tools=[open_door, roll_dice")
    replace(agent, "import roll_dice", "import open_door, roll_dice")
    tools.write_text(tools.read_text() + NEW_TOOL)


def replace_agent(project: Path) -> None:
    """Nothing is left of the sample's instructions and of its tool."""
    (project / "app" / "agent.py").write_text(OWN_AGENT)
    (project / "app" / "tools.py").write_text(OWN_TOOLS)


def replace(file: Path, old: str, new: str) -> None:
    """Raises AssertionError unless the text is there exactly once."""
    text = file.read_text()
    assert text.count(old) == 1, (file, old)
    file.write_text(text.replace(old, new))


def update(project: Path, answers: Answers | None = None) -> None:
    """Commit, and update to the newest version and to other answers, as the command line does."""
    check_keys(answers or {})
    commit(project, "Edit")
    copier.run_update(str(project), data=answers, defaults=True, overwrite=True, quiet=True)


def is_clean(project: Path) -> bool:
    """Whether the update left neither conflicts nor edits that found no place."""
    marked = [text for text in tree(project).values() if re.search("^<<<<<<< ", text, re.MULTILINE)]
    unmerged = "UU" in run("git", "status", "--porcelain", cwd=project)
    return not (marked or unmerged or any(project.rglob("*.rej")))


def without_answers(project: Path) -> dict[str, str]:
    return tree(project, ".copier-answers.yml")
