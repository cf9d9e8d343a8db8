from .proxy import USES_COOKIES, HeaderSettings, authenticate, open_auth

__all__ = ["USES_COOKIES", "HeaderSettings", "authenticate", "open_auth"]
