"""A client of the sender-number API of CoolSMS / SOLAPI."""
