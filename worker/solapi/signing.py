"""The credentials header: an HMAC over a date and a salt, new for every attempt.

The signature covers neither URL nor body, so an unused header authorises any request for 15 minutes. Sign last, right
before the request is sent.
"""

import hmac
from datetime import UTC, datetime
from hashlib import sha256

from worker.model.credentials import Credentials

__all__ = ["Signer", "iso_date", "signature"]


def iso_date(timestamp: float) -> str:
    """Format a Unix timestamp as the header's date: UTC, whole seconds, with zone."""
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def signature(secret: str, date: str, salt: str) -> str:
    """Return the HMAC-SHA256 of `date + salt` under the API secret, in hex."""
    return hmac.new(secret.encode(), (date + salt).encode(), sha256).hexdigest()


class Signer:
    """Create credentials headers for one API key.

    `offset` is how many seconds the server's clock is ahead; the client sets it. The padded key and the text of the
    current second are cached, as both cost more than the hash itself.
    """

    __slots__ = ("_api_key", "_hmac", "_second", "_second_text", "offset")

    def __init__(self, credentials: Credentials) -> None:
        self._api_key = credentials.api_key
        self._hmac = hmac.new(credentials.api_secret.reveal().encode(), digestmod=sha256)
        self._second, self._second_text = 0, iso_date(0)
        self.offset = 0.0

    def header(self, now: float, salt: str) -> str:
        """Return the header's value at Unix time `now` with a fresh random `salt` of 12 to 64 characters."""
        second = int(now + self.offset)
        if second != self._second:
            self._second, self._second_text = second, iso_date(second)
        digest = self._hmac.copy()
        digest.update((self._second_text + salt).encode())
        return (
            f"HMAC-SHA256 apiKey={self._api_key}, date={self._second_text}, salt={salt}, signature={digest.hexdigest()}"
        )
