"""Values, errors, ports, times and phone numbers. The package does no I/O."""
