"""Dictation, images and attachments: off, until you put one of these before `ProductionServer`.

    class Server(media.Dictation, ProductionServer):

Until then they are answered with `not_supported`. Yours.
"""

from typing import Any

from agents import Agent, ImageGenerationTool
from chatkit import types as ck
from chatkit.agents import ResponseStreamConverter
from chatkit.store import AttachmentStore

from ..core import BaseStore, RequestContext, new_id, not_supported
from ..core.agent import Context, RunSettings
from ..core.production import ProductionServer

TRANSCRIBER = "gpt-4o-mini-transcribe"
UPLOADS = "https://uploads.example.com/"


class Dictation(ProductionServer):
    """Speech becomes text by the model provider's API."""

    async def transcribe(
        self, audio_input: ck.AudioInput, context: RequestContext
    ) -> ck.TranscriptionResult:
        client: Any = getattr(self.model, "_client", None)  # OpenAI's, Azure's and compatible ones
        if client is None:
            raise not_supported("dictation")
        kind = audio_input.media_type.rpartition("/")[2]
        file = (f"speech.{kind}", audio_input.data, audio_input.media_type)
        heard = await client.audio.transcriptions.create(model=TRANSCRIBER, file=file)
        return ck.TranscriptionResult(text=heard.text)


class Images(ProductionServer):
    """The model draws, by OpenAI's Responses API."""

    class Converter(ResponseStreamConverter):
        async def base64_image_to_url(
            self, image_id: str, base64_image: str, partial_image_index: int | None = None
        ) -> str:
            """Store the image where you keep files, and give its address."""
            raise not_supported("images")

    converter = Converter()

    def compose(self, agent: Agent[Context]) -> Agent[Context]:
        draws = ImageGenerationTool(tool_config={"type": "image_generation"})
        composed = super().compose(agent)
        return composed.clone(tools=[*composed.tools, draws])


class Records(AttachmentStore[RequestContext]):
    """Records of attachments: their bytes go where `upload_descriptor` says, which is yours."""

    async def create_attachment(
        self, input: ck.AttachmentCreateParams, context: RequestContext
    ) -> ck.Attachment:
        own_id = new_id("attachment")
        where: Any = {"url": f"{UPLOADS}{own_id}", "method": "PUT"}
        upload = ck.AttachmentUploadDescriptor(**where)
        return ck.FileAttachment(
            id=own_id, name=input.name, mime_type=input.mime_type, upload_descriptor=upload
        )

    async def delete_attachment(self, attachment_id: str, context: RequestContext) -> None:
        """Delete the bytes; the record goes by itself, and is the asker's own."""


class Attachments(ProductionServer):
    def __init__(self, store: BaseStore, settings: RunSettings) -> None:
        super().__init__(store, settings)
        self.attachment_store = Records()
