"""Models behind an endpoint that speaks OpenAI's Chat Completions: Ollama, vLLM, LM Studio, …"""

from agents import Model, OpenAIChatCompletionsModel
from openai import AsyncOpenAI

from ...config import Address, Key, Section

DEFAULT_MODEL = "llama3.2"


class CompatibleSettings(Section):
    model: str = ""
    openai_base_url: Address | None = None  # http://localhost:11434/v1 is Ollama on this machine
    openai_api_key: Key | None = None  # local servers need none

    def errors(self) -> list[str]:
        missing = self.is_production and self.model != "offline" and not has_credentials(self)
        told = "OPENAI_BASE_URL is not set: give the address of the models, up to and with /v1."
        return super().errors() + [told] * missing


def has_credentials(settings: CompatibleSettings) -> bool:
    """An address is enough: a server of one's own asks for no key."""
    return settings.openai_base_url is not None


def build_model(settings: CompatibleSettings) -> Model:
    """The model that `settings` names."""
    key = settings.openai_api_key
    secret = key.get_secret_value() if key else "none"
    client = AsyncOpenAI(api_key=secret, base_url=settings.openai_base_url)
    return OpenAIChatCompletionsModel(settings.model or DEFAULT_MODEL, client)
