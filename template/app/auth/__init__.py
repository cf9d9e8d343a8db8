"""Who is asking: `authenticate` turns a request into a RequestContext.

The template's file: improvements arrive through `copier update`.
"""

from .anonymous import AnonymousSettings as AuthSettings
from .anonymous import authenticate

__all__ = ["AuthSettings", "authenticate"]
