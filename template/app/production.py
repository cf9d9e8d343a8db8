"""The server of the production level: the owner's agent, and what `app/server.py` adds to it.

The template's file: improvements arrive through `copier update`.
"""

from collections.abc import Sequence
from typing import Any

from agents import Agent, StopAtTools, Tool

from .approvals import ApprovalServer
from .run import Context


class ProductionServer(ApprovalServer):
    """What it can do is an attribute each, set in `app/server.py`; without it, that is off."""

    extra_tools: Sequence[Tool] = ()
    client_tools: Sequence[Tool] = ()  # each asks the browser, whose answer begins another turn

    async def begin(self, agent: Agent[Context], about: Context) -> tuple[Agent[Context], Any]:
        return await super().begin(self.compose(agent), about)

    def compose(self, agent: Agent[Context]) -> Agent[Context]:
        """The agent with what this server adds; its owner's is left as it is."""
        behavior, names = agent.tool_use_behavior, [tool.name for tool in self.client_tools]
        if names and not callable(behavior):
            more = behavior["stop_at_tool_names"] if isinstance(behavior, dict) else []
            behavior = StopAtTools(stop_at_tool_names=[*more, *names])
        tools = [*agent.tools, *self.extra_tools, *self.client_tools]
        return agent.clone(tools=tools, tool_use_behavior=behavior)
