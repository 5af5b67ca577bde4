"""A ledger in PostgreSQL, for runs on several hosts. It needs the extra `fleet`."""
