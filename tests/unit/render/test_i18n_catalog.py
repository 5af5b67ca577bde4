"""Translation of messages by their templates and parameters."""

from io import BytesIO
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo

from worker.model.messages import Message, join, system_text
from worker.render.i18n_catalog import Catalogue


def _catalogue() -> Catalogue:
    catalog = Catalog(locale="ko")
    catalog.add("marked", "표시됨")
    catalog.add("elsewhere", "다른 맥락", context="other")
    catalog.add(("{count} account", "{count} accounts"), ("계정 {count}개",))
    catalog.add("{name!r} has {count:,} numbers", "{name!r}: 번호 {count:,}개")
    catalog.add(("{count:,} number of {name}", "{count:,} numbers of {name}"), ("{name}: 번호 {count:,}개",))
    catalog.add("No such file", "파일이 없습니다")
    file = BytesIO()
    write_mo(file, catalog)
    file.seek(0)
    return Catalogue(file)


def test_messages_are_found_by_their_english_text() -> None:
    """`gettext` and `ngettext` translate templates and return unknown ones unchanged."""
    catalogue = _catalogue()
    assert catalogue.gettext("marked") == "표시됨"
    assert catalogue.gettext("unmarked") == "unmarked"
    assert catalogue.ngettext("{count} account", "{count} accounts", 1) == "계정 {count}개"
    assert catalogue.ngettext("{count} account", "{count} accounts", 2) == "계정 {count}개"


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (Message("marked"), "표시됨"),
        (Message("{name!r} has {count:,} numbers", name="a{b}", count=1234), "'a{b}': 번호 1,234개"),
        (
            Message.plural("{count:,} number of {name}", "…", 1000, name="a"),
            "a: 번호 1,000개",
        ),
        (join([Message("marked"), Message("unknown {x}", x=1)], "; "), "표시됨; unknown 1"),
        (Message("{items} — {name}", items=(Message("marked"), 2), name="marked"), "표시됨, 2 — marked"),
        (Message(""), ""),
        (system_text("No such file"), "파일이 없습니다"),
    ],
)
def test_message_is_translated_by_template_and_parameters(message: Message, text: str) -> None:
    assert _catalogue().message(message) == text


def test_missing_catalogue_is_none(tmp_path: Path) -> None:
    """A bare checkout has no compiled catalogue and needs none."""
    assert Catalogue.at(tmp_path / "senderid.mo") is None
