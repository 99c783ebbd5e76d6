"""Revisions, numbered without gaps."""
