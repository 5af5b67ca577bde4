"""The CoolSMS / SOLAPI sender-number API."""
