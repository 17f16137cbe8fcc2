"""Suites that attack the lab (`checks.faults`) and that time it (`checks.benchmarks`); see README.md."""
