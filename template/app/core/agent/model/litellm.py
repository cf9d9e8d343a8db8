"""Models of Anthropic, Google, AWS Bedrock and others, by a prefix in the name, through LiteLLM."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents import Model

from ...config import Address, Key, Section

if TYPE_CHECKING:
    from agents.extensions.models.litellm_model import LitellmModel

# By which variables and files a provider's own SDK knows who it is; a role of the machine has none.
AWS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_PROFILE",
    "AWS_BEARER_TOKEN_BEDROCK",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "~/.aws",
)
GOOGLE = (
    "GOOGLE_APPLICATION_CREDENTIALS",
    "~/.config/gcloud/application_default_credentials.json",
)
IDENTITIES = {
    "bedrock": AWS,
    "sagemaker": AWS,
    "vertex_ai": GOOGLE,
    "ollama": ("OLLAMA_API_BASE", "~/.ollama"),
}
DEFAULT_MODEL = "anthropic/claude-sonnet-4-5"


class LitellmSettings(Section):
    model: str = ""  # provider/model, as in gemini/gemini-2.5-flash
    litellm_api_key: Key | None = None  # or the provider's own variables in the environment
    litellm_base_url: Address | None = None  # only for a server of one's own

    def errors(self) -> list[str]:
        missing = self.is_production and self.model != "offline" and not has_credentials(self)
        told = "LITELLM_API_KEY is not set: put the key of the model's provider in the environment."
        return super().errors() + [told] * missing


def has_credentials(settings: LitellmSettings) -> bool:
    """A key, an address of one's own, or what the provider's own SDK finds by itself."""
    if settings.litellm_api_key or settings.litellm_base_url:
        return True
    provider = (settings.model or DEFAULT_MODEL).partition("/")[0]
    if settings.is_production and provider in IDENTITIES:
        return True  # as a role of the machine may be, or a workload's
    signs = IDENTITIES.get(provider, (f"{provider.upper()}_API_KEY",))
    return any(os.environ.get(sign) or Path(sign).expanduser().exists() for sign in signs)


def build_model(settings: LitellmSettings) -> Model:
    """The model that `settings` names."""
    key = settings.litellm_api_key
    secret = key.get_secret_value() if key else None
    name = settings.model or DEFAULT_MODEL
    return _model_class()(name, base_url=settings.litellm_base_url, api_key=secret)


def _model_class() -> "type[LitellmModel]":
    """LiteLLM takes seconds to import, and fetches a price list unless it is told not to."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm
    from agents.extensions.models.litellm_model import LitellmModel
    from litellm.litellm_core_utils.streaming_handler import CustomStreamWrapper

    # It sets context variables, which crashes CPython before 3.12 when garbage is collected within
    # another one's `set` (python/cpython#148891). They are for logs of its own, which are off.
    answer: Any = CustomStreamWrapper
    answer.__del__ = lambda self: None
    litellm.telemetry, litellm.suppress_debug_info = False, True
    litellm.disable_aiohttp_transport = True  # it takes a cut connection for the end of an answer
    return LitellmModel
