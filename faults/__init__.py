"""Suites that break a running system on purpose: `make faults`; their figures are in docs/reliability.md."""
