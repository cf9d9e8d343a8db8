from .bearer import USES_COOKIES, JwtSettings, authenticate, open_auth

__all__ = ["USES_COOKIES", "JwtSettings", "authenticate", "open_auth"]
