"""Accounts, credentials and tokens."""
