"""Carry out plans: one account, then a fleet."""
