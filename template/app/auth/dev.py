"""Credentials for development: how `python -m app dev` signs somebody in.

The template's file: improvements arrive through `copier update`.
"""

from .anonymous_dev import credentials

__all__ = ["credentials"]
