"""Models in Azure OpenAI, by the Responses API, with a key or an Entra identity."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from agents import Model, OpenAIResponsesModel
from openai import AsyncAzureOpenAI

from ...config import Address, Key, Section, fitting

DEFAULT_MODEL = "gpt-5-mini"  # MODEL is the name of the deployment
VERSION = "write it as in 2025-04-01-preview"
ENTRA_SCOPE = "https://cognitiveservices.azure.com/.default"


class AzureSettings(Section):
    model: str = ""
    azure_openai_endpoint: Address | None = None
    azure_openai_api_key: Key | None = None
    azure_openai_api_version: Annotated[str, fitting(r"[\w.-]+", VERSION)] = "2025-04-01-preview"
    azure_openai_entra: bool = False  # ask Entra for tokens instead of using a key

    def errors(self) -> list[str]:
        found = super().errors()
        if self.azure_openai_entra and self.azure_openai_api_key:
            found.append("AZURE_OPENAI_API_KEY and AZURE_OPENAI_ENTRA are both set: remove one.")
        if self.is_production and self.model != "offline" and not has_credentials(self):
            found.append(
                "Azure OpenAI is not set up: set AZURE_OPENAI_ENDPOINT, and AZURE_OPENAI_API_KEY "
                "or AZURE_OPENAI_ENTRA=true."
            )
        return found


def has_credentials(settings: AzureSettings) -> bool:
    identity = settings.azure_openai_entra or settings.azure_openai_api_key is not None
    return identity and settings.azure_openai_endpoint is not None


def build_model(settings: AzureSettings) -> Model:
    """The deployment that `settings` names. Raises openai.OpenAIError without credentials."""
    key = settings.azure_openai_api_key
    client = AsyncAzureOpenAI(
        azure_endpoint=settings.azure_openai_endpoint or "",
        api_version=settings.azure_openai_api_version,
        api_key=key.get_secret_value() if key else None,
        azure_ad_token_provider=entra_tokens() if settings.azure_openai_entra else None,
    )
    return OpenAIResponsesModel(settings.model or DEFAULT_MODEL, client)


def entra_tokens() -> Callable[[], Awaitable[str]]:
    """A source of tokens for this machine's Entra identity (managed, workload, or `az login`).

    Where none is given it raises ClientAuthenticationError with the status of a refused key.
    """
    from azure.core.exceptions import ClientAuthenticationError
    from azure.identity.aio import DefaultAzureCredential, get_bearer_token_provider

    ask = get_bearer_token_provider(DefaultAzureCredential(), ENTRA_SCOPE)

    async def token() -> str:
        try:
            return await ask()
        except ClientAuthenticationError as error:
            error.status_code = 401
            raise

    return token
