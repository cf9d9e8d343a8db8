"""What a tool leaves for the end of an answer: sources, and questions with choices."""

from collections.abc import AsyncGenerator, Iterator
from datetime import datetime
from typing import Any

from agents import Agent
from chatkit import types as ck

from ..agent.run import AgentServer, Context, Message
from ..chat_server import Events
from ..context import RequestContext
from ..store.base import new_id

Note = ck.AssistantMessageContentPartAnnotationAdded
Source = ck.URLSource | ck.FileSource | ck.EntitySource
ASKED = "The person is asked, and answers in the next turn."
_NEXT = "the next message"


async def cite(about: Context, source: Source) -> None:
    """Show the source at the end of the assistant's next message."""
    note = Note(content_index=0, annotation_index=0, annotation=ck.Annotation(source=source))
    await about.stream(ck.ThreadItemUpdatedEvent(item_id=_NEXT, update=note))


async def ask(about: Context, *questions: ck.StructuredInput) -> str:
    """Ask the person: a tool that returns what this returns ends the turn."""
    place: Any = {"thread_id": about.thread.id, "created_at": datetime.now()}
    item = ck.StructuredInputItem(id=new_id("message"), inputs=[*questions], **place)
    await about.stream(ck.ThreadItemDoneEvent(item=item))
    return ASKED


class EndingServer(AgentServer):
    async def _process_streaming_impl(
        self, request: ck.StreamingReq, context: RequestContext
    ) -> AsyncGenerator[ck.ThreadStreamEvent, None]:
        if isinstance(request, ck.ThreadsAddClientToolOutputReq):
            await self._put_call_last(request.params.thread_id, context)
        async for event in super()._process_streaming_impl(request, context):
            yield event

    async def _put_call_last(self, thread_id: str, context: RequestContext) -> None:
        """The SDK takes the output of the last item alone; a click may have put others behind."""
        is_last = True
        async for item in self._paginate_thread_items_reverse(thread_id, context):
            if isinstance(item, ck.ClientToolCallItem | ck.UserMessageItem):
                if not is_last and getattr(item, "status", "") == "pending":
                    await self.store.delete_thread_item(thread_id, item.id, context)
                    await self.store.add_thread_item(thread_id, item, context)
                break
            is_last = False

    async def answer(self, agent: Agent[Context], message: Message, about: Context) -> Events:
        notes: list[Note] = []
        questions: dict[str, ck.ThreadItemDoneEvent] = {}
        async for event in super().answer(agent, message, about):
            match event:
                case ck.ThreadItemUpdatedEvent(item_id=to, update=Note() as note) if to == _NEXT:
                    notes.append(note)
                case ck.ThreadItemDoneEvent(
                    item=ck.StructuredInputItem(id=item_id) | ck.ClientToolCallItem(id=item_id)
                ):
                    questions[item_id] = event  # the model reads the answer after the tool's output
                case ck.ThreadItemRemovedEvent(item_id=item_id) if item_id in questions:
                    del questions[item_id]  # a guardrail takes it back
                case ck.ThreadItemDoneEvent(item=ck.AssistantMessageItem() as item) if (
                    notes and item.content
                ):
                    for update in _attach(notes, item):
                        yield ck.ThreadItemUpdatedEvent(item_id=item.id, update=update)
                    notes = []
                    yield event
                case _:
                    yield event
        for event in questions.values():
            yield event


def _attach(notes: list[Note], item: ck.AssistantMessageItem) -> Iterator[Note]:
    """Put the notes at the end of the message's text; the updates that tell of it."""
    content, last = item.content[-1], len(item.content) - 1
    for note in notes:
        note.annotation.index = len(content.text)
        place = {"content_index": last, "annotation_index": len(content.annotations)}
        content.annotations.append(note.annotation)
        yield note.model_copy(update=place)
