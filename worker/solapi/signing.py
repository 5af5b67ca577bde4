"""The credentials header: an HMAC over a date and a salt, made anew for every attempt.

The signature covers neither URL nor body, so a header that was made and not used is a blank cheque for 15 minutes: sign
last, right before the request leaves.
"""

import hmac
from datetime import UTC, datetime
from hashlib import sha256

from worker.model.credentials import Credentials

__all__ = ["Signer", "iso_date", "signature"]


def iso_date(timestamp: float) -> str:
    """A Unix timestamp as the header's date: UTC, whole seconds, with zone."""
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def signature(secret: str, date: str, salt: str) -> str:
    """HMAC-SHA256 of `date + salt` under the API secret, in hex."""
    return hmac.new(secret.encode(), (date + salt).encode(), sha256).hexdigest()


class Signer:
    """Makes credentials headers for one API key.

    `offset` is how many seconds the server's clock is ahead of ours; whoever learns it sets it. The key's inner and
    outer pads and the current second's text are kept, as both cost more than the hash itself.
    """

    __slots__ = ("_api_key", "_keyed", "_second", "_second_text", "offset")

    def __init__(self, credentials: Credentials) -> None:
        self._api_key = credentials.api_key
        self._keyed = hmac.new(credentials.api_secret.reveal().encode(), digestmod=sha256)
        self._second, self._second_text = 0, iso_date(0)
        self.offset = 0.0

    def header(self, now: float, salt: str) -> str:
        """The header's value at Unix time `now` with a fresh random `salt` of 12 to 64 characters."""
        second = int(now + self.offset)
        if second != self._second:
            self._second, self._second_text = second, iso_date(second)
        keyed = self._keyed.copy()
        keyed.update((self._second_text + salt).encode())
        return (
            f"HMAC-SHA256 apiKey={self._api_key}, date={self._second_text}, salt={salt}, signature={keyed.hexdigest()}"
        )
