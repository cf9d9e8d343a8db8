"""What each person uses, by day, and how much of it a day may be."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import uuid4

import anyio
from agents import ModelSettings, RunConfig
from chatkit import types as ck
from pydantic import Field

from ...agent.run import RunSettings
from ...chat_server import PERSIST_LIMIT
from ...config import Section
from ...context import RequestContext
from ...errors import StoreUnavailable, logger, report
from ...log_context import log_context
from ...store.base import BaseStore, Lease
from ..titles import TitleServer
from .meter import MeteredModel, meter, new_meter
from .usage_store import UsageStore

SPENT = "What you may use in a day is used up. You can go on from {} 00:00 UTC."


class UsageSettings(Section):
    daily_tokens: Annotated[int, Field(ge=0)] = 0  # of an owner, input and output; 0 is no limit
    daily_turns: Annotated[int, Field(ge=0)] = 0
    # Chat Completions tell a stream's tokens when asked to; not every provider knows the question.
    ask_for_usage: bool = True


class UsageServer(TitleServer):
    """Counts turns, and what their models use; begins none for an owner whose day is used up."""

    def __init__(self, store: BaseStore, settings: RunSettings) -> None:
        super().__init__(store, settings)
        assert isinstance(settings, UsageSettings)
        self.daily = settings
        self.usage = UsageStore(store)

    def run_config(self, asked: ck.InferenceOptions) -> RunConfig:
        config = super().run_config(asked)
        assert not isinstance(config.model, str | None)
        config.model = MeteredModel(config.model, meter())
        if self.daily.ask_for_usage:
            asking = ModelSettings(include_usage=True)
            config.model_settings = asking.resolve(config.model_settings)
        return config

    async def _turn(
        self, parsed: ck.StreamingReq, lease: Lease, context: RequestContext
    ) -> AsyncGenerator[bytes, None]:
        events = super()._turn(parsed, lease, context)
        if await self._is_spent(context):
            tomorrow = (datetime.now(UTC) + timedelta(days=1)).date()
            events = self._refused(ck.ErrorEvent(message=SPENT.format(tomorrow)))
        async with self._counted(context, turns=1), aclosing(events):
            async for event in events:
                yield event

    async def _is_spent(self, context: RequestContext) -> bool:
        """Raises StoreUnavailable."""
        tokens, turns = self.daily.daily_tokens, self.daily.daily_turns
        if not tokens and not turns:
            return False
        used = await self.usage.of_day(context.owner, today())
        spent = used["input_tokens"] + used["output_tokens"]
        return 0 < tokens <= spent or 0 < turns <= used["turns"]

    async def _name(self, *args: Any) -> str:
        _, _, about, _ = args
        async with self._counted(about.request_context):
            return await super()._name(*args)

    @asynccontextmanager
    async def _counted(self, context: RequestContext, turns: int = 0) -> AsyncIterator[None]:
        """Store what is used meanwhile, however that ends; it counts for the day of its begin."""
        count, day = new_meter(), today()
        try:
            yield
        finally:
            if used := count.used:
                used["turns"] = turns
                log_context().update(
                    {name: used[name] for name in ("input_tokens", "output_tokens")}
                )
                try:
                    with anyio.fail_after(PERSIST_LIMIT, shield=True):
                        await self.usage.add(context.owner, day, used, uuid4().hex)
                except StoreUnavailable:
                    logger.warning("usage could not be stored: %s", dict(used))
                except Exception as error:
                    report(error)


def today() -> str:
    return datetime.now(UTC).date().isoformat()
