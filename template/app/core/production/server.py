"""The server of the production level: the owner's agent, and what `app/server.py` adds to it."""

from collections.abc import Mapping, Sequence
from inspect import isawaitable
from typing import Any

from agents import Agent, FunctionToolResult, Tool, ToolsToFinalOutputResult

from ..agent.history import History, TagResolver
from ..agent.run import Context, ToolContext
from .approvals import ApprovalServer
from .guardrails import GuardServer
from .ops.drain import DrainServer
from .ops.turn_limits import TurnLimits
from .ops.usage import UsageServer
from .screening import ScreeningServer
from .sources import ASKED, EndingServer
from .titles import TitleServer


class ProductionServer(
    DrainServer,
    UsageServer,
    GuardServer,
    ScreeningServer,  # before the titler, which gets the person's text too
    TitleServer,
    EndingServer,
    TurnLimits,
    ApprovalServer,
):
    """What it can do is an attribute each, set in `app/server.py`; without it, that is off."""

    extra_tools: Sequence[Tool] = ()
    handoffs: Sequence[Agent[Context]] = ()  # who may take a turn over
    tags: Mapping[str, TagResolver] = {}  # what the model is told of an @-tag, by the tag's group

    async def begin(self, agent: Agent[Context], about: Context) -> tuple[Agent[Context], Any]:
        return await super().begin(self.compose(agent), about)

    def compose(self, agent: Agent[Context]) -> Agent[Context]:
        """The agent with what this server adds; its owner's is left as it is."""
        handoffs = [
            _ending(one) if isinstance(one, Agent) else one
            for one in (*agent.handoffs, *self.handoffs)
        ]
        tools = [*agent.tools, *self.extra_tools]
        return _ending(agent).clone(tools=tools, handoffs=handoffs)

    def history(self, about: Context) -> History:
        history = super().history(about)
        history.tags = self.tags
        return history


def _ending(agent: Agent[Context]) -> Agent[Context]:
    """The agent, whose turn ends also where a tool asks the browser or the person."""
    own = agent.tool_use_behavior
    if own == "stop_on_first_tool":
        return agent

    async def behavior(
        ctx: ToolContext, results: list[FunctionToolResult]
    ) -> ToolsToFinalOutputResult:
        found = stop_for_browser(ctx, results)
        if not found.is_final_output and isinstance(own, dict):
            for result in results:
                if result.tool.name in own["stop_at_tool_names"]:
                    return ToolsToFinalOutputResult(True, result.output)
        if not found.is_final_output and callable(own):
            decided = own(ctx, results)
            return await decided if isawaitable(decided) else decided
        return found

    return agent.clone(tool_use_behavior=behavior)


def stop_for_browser(
    ctx: ToolContext, results: list[FunctionToolResult]
) -> ToolsToFinalOutputResult:
    """End the turn where a tool asks the browser or the person: the answer begins another.

    As StopAtTools does by the tools' names, which would also end a run that is resumed after one.
    """
    asked = ctx.context.client_tool_call is not None
    asked = asked or any(result.output == ASKED for result in results)
    return ToolsToFinalOutputResult(is_final_output=asked, final_output="")
