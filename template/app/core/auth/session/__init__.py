from .cookie import USES_COOKIES, SessionSettings, authenticate, open_auth

__all__ = ["USES_COOKIES", "SessionSettings", "authenticate", "open_auth"]
