"""The command line: commands, options and exit statuses. Only this package reads arguments, prints and exits.

It imports nothing by itself: `worker.cli.signals` must be in place before anything else is imported.
"""
