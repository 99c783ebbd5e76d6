"""Shipped fakes, one per port, held to the same contract suites as the real backends."""
