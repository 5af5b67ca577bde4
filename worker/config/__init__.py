"""YAML, environment and CSV, read into typed settings and desired state."""
