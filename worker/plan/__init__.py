"""Comparison of desired with observed state: changes, safety rules and plan files. The package does no I/O."""
