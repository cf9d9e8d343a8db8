"""Credentials for development: how `python -m app dev` signs somebody in."""

from .anonymous.dev import credentials

__all__ = ["credentials"]
