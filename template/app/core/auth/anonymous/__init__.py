from .visitor import USES_COOKIES, AnonymousSettings, authenticate, open_auth

__all__ = ["USES_COOKIES", "AnonymousSettings", "authenticate", "open_auth"]
