"""The credentials header: an HMAC over a date and a salt, new for every attempt.

The signature covers neither the URL nor the body, so an unused header authorises any request for 15 minutes. Sign
immediately before the request is sent.
"""

import hmac
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256

from worker.model.credentials import Credentials

__all__ = ["Signer", "iso_date", "signature"]


@lru_cache
def iso_date(timestamp: float) -> str:
    """Format a Unix time in seconds as the date of the header: UTC, ISO 8601, Z, in whole seconds."""
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def signature(secret: str, date: str, salt: str) -> str:
    """Return the HMAC-SHA256 of `date + salt` under the API secret, in hex."""
    return hmac.new(secret.encode(), (date + salt).encode(), sha256).hexdigest()


class Signer:
    """A signer of requests with one API key.

    `offset` is the time in seconds by which the server's clock is ahead; the client sets it. The padded key is kept,
    because it costs more than the hash itself.
    """

    __slots__ = ("_api_key", "_hmac", "offset")

    def __init__(self, credentials: Credentials) -> None:
        self._api_key = credentials.api_key
        self._hmac = hmac.new(credentials.api_secret.reveal().encode(), digestmod=sha256)
        self.offset = 0.0

    def header(self, now: float, salt: str) -> str:
        """Return the value of the credentials header at `now`, a Unix time in seconds.

        `salt` is new for every request: 12 to 64 random characters.
        """
        date = iso_date(int(now + self.offset))
        digest = self._hmac.copy()
        digest.update((date + salt).encode())
        return f"HMAC-SHA256 apiKey={self._api_key}, date={date}, salt={salt}, signature={digest.hexdigest()}"
