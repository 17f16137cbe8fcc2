"""Suites that try to break atlantis, and count."""
