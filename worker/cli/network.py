"""The way to the API from the settings: proxy, its credentials, and certificate authorities."""

import ssl
from base64 import b64encode
from typing import TYPE_CHECKING

from worker.model.credentials import Secret
from worker.model.errors import UsageError
from worker.model.messages import Message, system_text

if TYPE_CHECKING:
    from worker.cli.credentials import CredentialsResolver
    from worker.config.settings import NetworkSettings
    from worker.solapi.transport import Route

__all__ = ["route"]


def route(network: "NetworkSettings", resolver: "CredentialsResolver") -> "Route":
    """Return the way to the API. The environment is not asked for proxies.

    Raises:
        UsageError: the credentials of the proxy, or the file of authorities, cannot be used.
    """
    from worker.solapi.transport import Route

    credentials = None
    if network.proxy is not None and network.proxy_credentials is not None:
        text = resolver.proxy_credentials(network.proxy_credentials)
        if text.find(":") < 1:
            raise UsageError(
                Message(
                    "network.proxy_credentials: {location} must have USER:PASSWORD",
                    location=network.proxy_credentials.location,
                )
            )
        credentials = Secret(f"Basic {b64encode(text.encode()).decode()}")
    tls = None if network.ca_file is None else _trusting(network.ca_file)
    return Route(network.proxy, credentials, network.no_proxy, tls)


def _trusting(path: str) -> ssl.SSLContext:
    """Return a context that trusts the authorities of a file besides those of the system."""
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(path)
    except ssl.SSLError:
        raise UsageError(
            Message("network.ca_file {path}: the file contains no certificate in PEM format", path=path)
        ) from None
    except OSError as error:
        raise UsageError(
            Message("network.ca_file {path}: cannot be read: {reason}", path=path, reason=system_text(error.strerror))
        ) from None
    return context
