"""Suites that break atlantis on purpose, and count: `make faults`; their figures are in docs/reliability.md."""
