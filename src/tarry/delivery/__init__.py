"""Carries one invocation from acceptance to notification."""
