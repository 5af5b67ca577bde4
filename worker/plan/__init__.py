"""Desired and observed state, compared: changes, safety rules and plan files. Pure."""
