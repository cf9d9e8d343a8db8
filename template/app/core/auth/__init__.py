"""Who is asking: `authenticate` turns a request into a RequestContext."""

from .anonymous import USES_COOKIES, authenticate, open_auth
from .anonymous import AnonymousSettings as AuthSettings

__all__ = ["USES_COOKIES", "AuthSettings", "authenticate", "open_auth"]
