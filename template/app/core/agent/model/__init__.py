"""Which model answers: `build_model` makes it, `has_credentials` tells whether it can be asked."""

from .openai import OpenaiSettings, build_model, has_credentials

__all__ = ["ModelSettings", "build_model", "has_credentials"]


class ModelSettings(OpenaiSettings):
    """The variant's settings. `MODEL` overrides the name that the project was made with."""

    model: str = ""
