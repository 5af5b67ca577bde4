"""Notification channels in the settings, and the location of each problem."""

import pytest

from worker.config.channels import Channel, Event, Notify
from worker.config.settings import Settings, load
from worker.model.credentials import SecretRef
from worker.model.errors import SettingsError

URL = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"


def load_text(text: str) -> Settings:
    """Return the settings of a file w.yaml."""
    return load(("w.yaml", text.encode()), {}, {})


def problems(text: str) -> list[str]:
    """Return the problems of a file w.yaml."""
    with pytest.raises(SettingsError) as error:
        load_text(text)
    return [str(problem) for problem in error.value.problems]


def test_channels_are_read_with_defaults() -> None:
    text = """
notify:
  timeout_seconds: 3
  channels:
    - {name: ops, url: {env: OPS_URL}}
    - name: 운영팀
      url: {file: /run/secrets/kakao}
      events: [failing, drift]
      digest_seconds: 60
      title: "$host: $title ($count)"
      body: |
        $body
        $$ is a dollar
"""
    assert load_text(text).notify == Notify(
        channels=(
            Channel("ops", SecretRef(env="OPS_URL"), tuple(Event), 0.0, "[senderid] $title", "$body"),
            Channel(
                "운영팀",
                SecretRef(file="/run/secrets/kakao"),
                (Event.FAILING, Event.DRIFT),
                60.0,
                "$host: $title ($count)",
                "$body\n$$ is a dollar",
            ),
        ),
        timeout_seconds=3.0,
    )


def test_empty_list_of_channels_equals_the_default() -> None:
    assert load_text("notify: {channels: []}") == Settings()


HEAD = "notify: {channels: ["
LITERAL = "url must be a reference such as {env: NAME} or {file: PATH}; never put a secret in this file"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"notify: {{channels: '{URL}'}}", "1:20: channels must be a list of {name: NAME, url: {env: NAME}}"),
        ("notify: {channels: }", "1:20: channels must be a list of"),
        (f"{HEAD}'{URL}']}}", "1:21: a channel must be a mapping such as {name: ops, url: {env: OPS_CHANNEL_URL}}"),
        (f"{HEAD}{{name: a, url: '{URL}'}}]}}", f"1:36: {LITERAL}"),
        (f"{HEAD}{{name: a, url: {{env: '{URL}'}}}}]}}", "1:42: looks like a secret, not a name"),
        (f"{HEAD}{{name: a, url: {{file: '{URL}'}}}}]}}", "1:43: looks like a secret, not a name"),
        (f"{HEAD}{{name: a, url: {{'{URL}': x}}}}]}}", "1:37: unknown key; use one of env, file"),
        (f"{HEAD}{{name: a, '{URL}': x, url: {{env: A}}}}]}}", "1:31: unknown key; use one of name, url"),
        (f"{HEAD}{{name: a}}]}}", "1:21: missing url: a channel needs a name and a url"),
        (f"{HEAD}{{url: {{env: A}}}}]}}", "1:21: missing name: a channel needs a name and a url"),
        (f"{HEAD}{{name: '', url: {{env: A}}}}]}}", "1:28: name is empty"),
        (f"{HEAD}{{name: a, url: {{env: A}}}}, {{name: a, url: {{env: B}}}}]}}", "1:47: duplicate channel a"),
    ],
)
def test_invalid_channel_is_refused_without_a_secret(text: str, message: str) -> None:
    """A value that may be a secret is not repeated."""
    messages = problems(text)
    assert any(problem.startswith(f"w.yaml:{message}") for problem in messages), messages
    assert not any("TIiajkd" in problem or "slack" in problem for problem in messages)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("events: []", "62: events must be a list of failing, refused, drift, changed, held, expiring"),
        ("events: failing", "62: events must be a list"),
        ("events: [failling]", "63: unknown event; did you mean 'failing'?"),
        ("events: [[]]", "63: unknown event; use one of failing, "),
        ("events: [drift, drift]", "70: duplicate event drift: keep one"),
        ("digest_seconds: 1h", "70: digest_seconds must be a number of seconds from 0 to 86,400"),
        ("digest_seconds: -1", "70: digest_seconds must be"),
        ("digest_seconds: nan", "70: digest_seconds must be"),
        ("digest_seconds: 86401", "70: digest_seconds must be"),
        ("digest_seconds: []", "70: digest_seconds must be"),
        ("title: ''", "61: a template is empty"),
        ("title: $titel", "61: unknown field in a template; did you mean 'title'?"),
        ("body: 5 $", "60: $ in a template starts a field: write $$ for a literal $"),
        ("body: '${secret}'", "60: unknown field in a template; use one of title, body, count, host"),
    ],
)
def test_invalid_channel_field_is_refused_with_allowed_values(field: str, message: str) -> None:
    (problem,) = problems(f"notify: {{channels: [{{name: ops, url: {{env: OPS_URL}}, {field}}}]}}")
    assert problem.startswith(f"w.yaml:1:{message}"), problem


@pytest.mark.parametrize("seconds", ["0", "0.5", "86400"])
def test_digest_of_no_time_or_a_day_is_accepted(seconds: str) -> None:
    text = f"notify: {{channels: [{{name: ops, url: {{env: OPS_URL}}, digest_seconds: {seconds}}}]}}"
    (channel,) = load(("w.yaml", text.encode()), {}, {}).notify.channels
    assert channel.digest_seconds == float(seconds)


def test_channels_cannot_be_set_by_a_variable() -> None:
    with pytest.raises(SettingsError, match="SENDERID_NOTIFY__CHANNELS:1:1: unknown setting") as error:
        load(None, {"SENDERID_NOTIFY__CHANNELS": URL}, {})
    assert "slack" not in str(error.value)
    assert load(None, {"SENDERID_NOTIFY__TIMEOUT_SECONDS": "2"}, {}).notify.timeout_seconds == 2
