"""Models of OpenAI, by the Responses API."""

from agents import Model, OpenAIResponsesModel, set_tracing_export_api_key
from openai import AsyncOpenAI

from ...config import Address, Key, Section

DEFAULT_MODEL = "gpt-5-mini"


class OpenaiSettings(Section):
    model: str = ""
    openai_api_key: Key | None = None
    openai_base_url: Address = "https://api.openai.com/v1"

    def errors(self) -> list[str]:
        missing = self.is_production and self.model != "offline" and not has_credentials(self)
        told = "OPENAI_API_KEY is not set: put the project's key in the environment."
        return super().errors() + [told] * missing


def has_credentials(settings: OpenaiSettings) -> bool:
    return settings.openai_api_key is not None


def build_model(settings: OpenaiSettings) -> Model:
    """The model that `settings` names. Raises openai.OpenAIError without a key."""
    key = settings.openai_api_key
    secret = key.get_secret_value() if key else None
    set_tracing_export_api_key(secret or "")  # used only where OPENAI_TRACING asks for traces
    client = AsyncOpenAI(api_key=secret, base_url=settings.openai_base_url)
    return OpenAIResponsesModel(settings.model or DEFAULT_MODEL, client)
