"""The credentials header: in the documented format, new for each request, and without the secret."""

import hmac
import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from itertools import islice
from types import SimpleNamespace

import pytest

from worker.model.credentials import Credentials, Secret
from worker.solapi.runtime import _salts
from worker.solapi.signing import Signer, iso_date, signature

_KEY, _SECRET, _SALT = "NCSAYU7YDBXYORXC", "JWKLMNOPQRSTUVWXYZ0123456789ABCD", "jqsba2jxjnrjor"
_NOW = 1_561_996_800.0


@pytest.fixture
def seoul(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set a local time nine hours ahead of UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Seoul")
        time.tzset()
        yield
    time.tzset()


def _header(moment: float, *, offset: float = 0.0) -> str:
    signer = Signer(Credentials(_KEY, Secret(_SECRET)))
    signer.offset = offset
    return signer.header(moment, _SALT)


def _parts(header: str) -> dict[str, str]:
    scheme, _, fields = header.partition(" ")
    assert scheme == "HMAC-SHA256"
    return dict(part.split("=") for part in fields.split(", "))


def test_signature_is_the_hmac_of_date_and_salt() -> None:
    """The result equals that of openssl. Letters beyond ASCII are encoded as UTF-8."""
    date = "2019-07-01T00:41:48Z"
    # printf '2019-07-01T00:41:48Zjqsba2jxjnrjor' | openssl dgst -sha256 -hmac 'JWKLMNOPQRSTUVWXYZ0123456789ABCD'
    assert signature(_SECRET, date, _SALT) == "f5bacfe01716b0d7e374b9fea4572c9a5fcaab50ae30b8331c5f5bb12a8cc9ba"
    assert signature("비밀", date, _SALT) == hmac.new("비밀".encode(), (date + _SALT).encode(), sha256).hexdigest()


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (_NOW, "2019-07-01T16:00:00Z"),
        (_NOW + 0.999, "2019-07-01T16:00:00Z"),
        (1_709_164_799, "2024-02-28T23:59:59Z"),
        (1_709_164_800, "2024-02-29T00:00:00Z"),
    ],
)
def test_date_is_utc_in_whole_seconds(moment: float, text: str) -> None:
    """The server refuses a date without a zone."""
    assert iso_date(moment) == text
    assert datetime.fromisoformat(text) == datetime.fromtimestamp(int(moment), UTC)


@pytest.mark.usefixtures("seoul")
def test_date_is_utc_in_every_local_zone() -> None:
    assert iso_date(_NOW) == "2019-07-01T16:00:00Z"


@pytest.mark.parametrize("moment", [-1.0, 0.0, 1.0])
def test_first_header_has_the_current_date(moment: float) -> None:
    """No cached date is used before the first second, at any start time of the clock."""
    assert _parts(_header(moment))["date"] == iso_date(moment)


def test_header_has_four_parts_and_no_secret() -> None:
    """Key, date, salt and signature match each other."""
    header = _header(_NOW)
    parts = _parts(header)
    assert list(parts) == ["apiKey", "date", "salt", "signature"]
    assert (parts["apiKey"], parts["date"], parts["salt"]) == (_KEY, iso_date(_NOW), _SALT)
    assert parts["signature"] == signature(_SECRET, parts["date"], parts["salt"])
    assert _SECRET not in header


def test_date_follows_the_clock() -> None:
    """Later, earlier and equal seconds each have their own date, despite the cache."""
    signer = Signer(Credentials(_KEY, Secret(_SECRET)))
    for moment in (_NOW, _NOW + 0.5, _NOW + 1, _NOW + 1, _NOW - 3600):
        parts = _parts(signer.header(moment, _SALT))
        assert parts["date"] == iso_date(moment)
        assert parts["signature"] == signature(_SECRET, parts["date"], _SALT)


def test_signatures_of_one_second_differ_by_salt() -> None:
    signer = Signer(Credentials(_KEY, Secret(_SECRET)))
    headers = {_parts(signer.header(_NOW, f"{number:012}"))["signature"] for number in range(100)}
    assert len(headers) == 100


@pytest.mark.parametrize("offset", [0.0, 900.5, -86_400.0])
def test_offset_moves_the_date(offset: float) -> None:
    """The offset of the server clock is added, including fractions of a second."""
    assert _parts(_header(_NOW + 0.25, offset=offset))["date"] == iso_date(_NOW + 0.25 + offset)


def test_signer_does_not_show_its_secret() -> None:
    """Neither its text nor its representation contains the secret."""
    assert _SECRET not in repr(Signer(Credentials(_KEY, Secret(_SECRET))))


def test_salts_do_not_share_random_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """One call draws the digits of 256 salts."""
    values: list[str] = []

    def draw(count: int) -> str:
        values.append(secrets.token_hex(count))
        return values[-1]

    monkeypatch.setattr("worker.solapi.runtime.secrets", SimpleNamespace(token_hex=draw))
    salts = list(islice(_salts(), 512))
    assert {len(salt) for salt in salts} == {32}
    assert ["".join(salts[:256]), "".join(salts[256:])] == values
