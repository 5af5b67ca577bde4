"""Readers of YAML files, environment variables and CSV files, which return typed settings and desired state."""
