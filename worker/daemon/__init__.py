"""The daemon: watch loop, scheduling, file reload, systemd and notifications."""
