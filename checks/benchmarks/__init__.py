"""Benchmarks, each beside its peer: `make bench`, or `python -m checks.benchmarks --help`."""
