"""Reconciliation: plans and writes of one account, and of a fleet of accounts."""
