"""The watch loop: scheduling, file reload, systemd and notifications."""
