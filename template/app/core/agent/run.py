"""Running an agent for a thread: its history in, ChatKit events out, and a Stop that stops."""

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from agents import Agent, Model, RunConfig, RunContextWrapper, Runner
from agents.result import RunResultStreaming
from chatkit import types as ck
from chatkit.agents import AgentContext, ResponseStreamConverter, stream_agent_response
from chatkit.errors import CustomStreamError
from openai import DefaultHttpxClient
from pydantic import Field

from ..chat_server import BaseServer, Events
from ..config import AppSettings
from ..context import RequestContext
from ..log_context import request_id
from ..store.base import BaseStore
from .agent_models import AgentModels
from .history import History, load_history
from .item_ids import own_ids
from .model import ModelSettings as ModelSection
from .model import build_model, has_credentials
from .model.offline import OfflineModel
from .model_errors import model_failure, tool_failure
from .normalized import normalized
from .retries import RetryingModel, without_retries
from .text_coalescing import JoinedModel
from .watched_run import WatchedRun

# What tools and instructions get: `.request_context` is the asker, `.thread` the conversation.
Context = AgentContext[RequestContext]
ToolContext = RunContextWrapper[Context]
Message = ck.UserMessageItem | None

OFFLINE_NOTICE = "This is the offline model. Set a model's credentials in .env for real answers."


class RunSettings(ModelSection, AppSettings):
    history_items: Annotated[int, Field(gt=0)] = 20
    max_turns: Annotated[int, Field(gt=0)] = 10  # model calls in one answer
    model_timeout: Annotated[float, Field(gt=0)] = 60.0  # seconds until it begins, retries included
    model_stall: Annotated[float, Field(gt=0)] = 60.0  # seconds of silence in mid-answer
    text_window: Annotated[float, Field(ge=0)] = 0.03  # seconds in which a model's words are joined
    openai_tracing: bool = False  # send traces of every run to OpenAI
    offline_delay: Annotated[float, Field(ge=0)] = 0.03  # seconds a word of the offline model

    @property
    def is_offline(self) -> bool:
        return self.model == "offline" or not (self.is_production or has_credentials(self))

    def errors(self) -> list[str]:
        found = super().errors()
        try:  # as every provider's client reads the environment when it is built
            _ = self.is_offline or DefaultHttpxClient()
        except Exception as error:  # its text may quote the password of a proxy
            kind = "ssl_cert_.*" if isinstance(error, OSError) else "(https?|all|no)_proxy"
            names = [name for name in os.environ if re.fullmatch(kind, name, re.IGNORECASE)]
            told = "cannot be used to reach the model: write a proxy as in http://10.0.0.1:3128 "
            told += "and certificates as a path that exists, or unset it."
            found.append(f"{' or '.join(names) or 'A proxy of this system'} {told}")
        return found

    def startup_warnings(self) -> list[str]:
        return super().startup_warnings() + [OFFLINE_NOTICE] * self.is_offline


# Attributes of a server that an owner may have set before 2.0.0: they would be ignored now.
RENAMED = {"models": "selectable_models", "tools": "selectable_tools"}


class AgentServer(BaseServer):
    """A server whose answers come from an agent: call `run` in `respond`."""

    model: Model
    selectable_models: tuple[str, ...] = ()  # what `inference_options.model` may ask for
    selectable_tools: tuple[str, ...] = ()  # what `inference_options.tool_choice` may ask for
    converter = ResponseStreamConverter()  # of images and citations

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for old, new in RENAMED.items():
            if old in vars(cls):
                raise SystemExit(f"{cls.__name__} sets `{old}`, which is called `{new}` now.")

    def __init__(self, store: BaseStore, settings: RunSettings) -> None:
        super().__init__(store, settings)
        self.settings: RunSettings = settings
        offline = settings.is_offline
        self.model = OfflineModel(settings.offline_delay) if offline else build_model(settings)
        self.agent_models = AgentModels(lambda agent: self.wrapped(self.model_of(agent)))
        self._named: dict[str, Model] = {}

    def run(
        self,
        agent: Agent[Context],
        thread: ck.ThreadMetadata,
        message: ck.UserMessageItem | None,
        context: RequestContext,
    ) -> Events:
        """Run `agent` on the thread's newest items and yield its events.

        Raises CustomStreamError for a model or tool that is not on the server's list.
        """
        about = Context(thread=thread, store=self.store, request_context=context)
        return self.answer(agent, message, about)

    async def answer(self, agent: Agent[Context], message: Message, about: Context) -> Events:
        asked = message.inference_options if message else await self._asked(about)
        config = self.run_config(asked)
        config.call_model_input_filter = self.agent_models.noting(config.call_model_input_filter)
        # What a person picked is this agent's alone: not of one that takes over, or is a tool.
        agent = agent.clone(model=self.model_of(agent, asked.model))
        if asked.tool_choice:
            chosen = replace(agent.model_settings, tool_choice=asked.tool_choice.id)
            agent = agent.clone(model_settings=chosen)
        config.group_id = about.thread.id
        assert isinstance(config.model, Model)
        without_retries(config)
        patient = RetryingModel(config.model, self.settings.model_stall)
        config.model = model = JoinedModel(patient, self.settings.text_window)
        if self.settings.is_offline and not about.thread.metadata.get("offline_notice"):
            about.thread.metadata["offline_notice"] = True
            yield ck.NoticeEvent(level="info", message=OFFLINE_NOTICE)
        agent, given = await self.begin(agent, about)
        turns = self.settings.max_turns
        rest: Any = {"context": about, "max_turns": turns, "run_config": config, "hooks": model}
        run = Runner.run_streamed(agent, given, **rest)
        shown = False
        watched: Any = WatchedRun(run, about, self.settings.model_timeout, given)
        try:
            events = own_ids(stream_agent_response(about, watched, converter=self.converter))
            async for event in model.joined(events):
                shown = True
                yield event
            for event in await self.end(run, about):
                shown = True
                yield event
            if not shown:  # a refusal that a provider's client has swallowed
                raise CustomStreamError("The assistant has no answer to this.", allow_retry=True)
        finally:
            await watched.close()

    async def _asked(self, about: Context) -> ck.InferenceOptions:
        """What a turn goes on with that nobody has written: the model of the last message."""
        where = about.thread.id, about.request_context
        async for item in self._paginate_thread_items_reverse(*where):
            if isinstance(item, ck.UserMessageItem):
                picked = item.inference_options.model
                known = picked in self.selectable_models
                return ck.InferenceOptions(model=picked if known else None)
        return ck.InferenceOptions()

    async def begin(self, agent: Agent[Context], about: Context) -> tuple[Agent[Context], Any]:
        """The agent that is run, and what it is given: the thread's newest items."""
        limit = self.settings.history_items
        return agent, await load_history(self.history(about), about.thread, limit)

    async def end(self, run: RunResultStreaming, about: Context) -> Sequence[ck.ThreadStreamEvent]:
        """What follows the run's own events: nothing, at this level."""
        return ()

    def history(self, about: Context) -> History:
        """How the thread's items become model input."""
        return History(about.store, about.request_context)

    def explain(self, error: Exception) -> ck.ErrorEvent:
        return model_failure(error)

    def run_config(self, asked: ck.InferenceOptions) -> RunConfig:
        """The run's model and settings: what a client asks for counts only if it is listed."""
        tool = asked.tool_choice and asked.tool_choice.id
        models, tools = self.selectable_models, self.selectable_tools
        if tool not in (None, *tools) or asked.model not in (None, *models):
            raise CustomStreamError("This choice is not available here. Please make another.")
        return RunConfig(
            model=self.agent_models,
            call_model_input_filter=self.agent_models.note,
            tracing_disabled=not self.settings.openai_tracing,
            trace_include_sensitive_data=False,
            trace_metadata={"request_id": request_id()},
            tool_error_formatter=tool_failure,
            # A model may call a tool that it made up, or that it read in the history of another
            # agent or of an older version. The SDK's default ends the turn for it.
            tool_not_found_behavior="return_error_to_model",
        )

    def model_of(self, agent: Agent[Any] | None, picked: str | None = None) -> Model:
        """The model that answers for `agent`: the offline one before all others.

        Then the one that the person picked, then the agent's own, then the project's.
        """
        chosen = picked or (agent.model if agent else None)
        if chosen is None or self.settings.is_offline:
            return self.model
        if isinstance(chosen, Model):
            return chosen
        if chosen not in self._named:  # its connections, and tokens, are for many turns
            given = self.settings.model_copy(update={"model": chosen})
            self._named[chosen] = build_model(given)
        return self._named[chosen]

    def wrapped(self, model: Model) -> Model:
        """Wrap the model of one call: every model that a run asks passes here."""
        return normalized(model)
