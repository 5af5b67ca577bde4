"""The command line: commands, options and exit statuses. Only this package reads arguments, prints and exits.

This module imports nothing, as the handlers of `worker.cli.signals` must be installed before any other import.
"""
