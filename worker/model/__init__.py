"""Values, errors, ports, times and phone numbers. Pure."""
