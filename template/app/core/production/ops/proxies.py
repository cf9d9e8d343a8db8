"""The scheme and the client's address as a proxy forwards them: believed of the listed ones
only.
"""

from ipaddress import ip_network
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import NoDecode
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.utils import get_remote_addr, is_ssl

from ...config import Section, listed

NO_NETWORK = "{!r} is neither an address nor a network: write 10.0.0.7 or 10.0.0.0/8"


def network(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError:
        raise ValueError(NO_NETWORK.format(text)) from None


Networks = tuple[Annotated[str, AfterValidator(network)], ...]


class ProxySettings(Section):
    # Addresses or networks of the proxies in front, separated by commas.
    trusted_proxies: Annotated[Networks, NoDecode, BeforeValidator(listed)] = ()


class TrustedProxies:
    """Pure ASGI, around everything. X-Forwarded-Proto and -For count if a listed proxy sent them.

    uvicorn has believed whoever is on this machine by then, unless it was told otherwise: what it
    made of a request is taken back first.
    """

    def __init__(self, app: ASGIApp, proxies: tuple[str, ...]) -> None:
        forwarded: Any = ProxyHeadersMiddleware
        self.app: ASGIApp = forwarded(app, trusted_hosts=list(proxies))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        transport = getattr(getattr(receive, "__self__", None), "transport", None)
        if transport is not None:
            scope["client"] = get_remote_addr(transport)
            scope["scheme"] = "https" if is_ssl(transport) else "http"
        await self.app(scope, receive, send)
