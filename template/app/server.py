"""The ChatKit server of this project: this file is yours."""

from chatkit import types as ck

from .agent import assistant
from .core import Events, RequestContext

# Your imports go above: what follows changes with the level.
# isort: split
from .core.agent import AgentServer


class Server(AgentServer):
    """Answers with the agent of `agent.py`."""

    selectable_models = ()  # what a model picker may ask for

    async def respond(
        self, thread: ck.ThreadMetadata, message: ck.UserMessageItem | None, context: RequestContext
    ) -> Events:
        async for event in self.run(assistant, thread, message, context):
            yield event

    # What else the server is to do follows here, such as `add_feedback`.
