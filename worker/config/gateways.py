"""The URL of a Prometheus push gateway, as settings and options name it."""

from urllib.parse import urlsplit

__all__ = ["gateway"]


def gateway(text: str) -> str:
    """The URL of a push gateway, without a slash at its end.

    Raises:
        ValueError: with a sentence that says what is wrong and what is allowed; it does not repeat the text, in which a
            password could be.
    """
    if "@" in text or "?" in text or "#" in text:
        msg = "push_url carries no user, password, query or fragment: take out @, ? and # and what belongs to them"
        raise ValueError(msg)
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not (usable and text.isascii() and text.isprintable()) or " " in text or "\\" in text:
        msg = "push_url should be the URL of a push gateway, such as http://pushgateway.internal:9091"
        raise ValueError(msg)
    return text.rstrip("/")
