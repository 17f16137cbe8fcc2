"""Benchmarks, each beside its peer: `make bench`, or `python -m benchmarks [NAME ...] [--rounds N] [--quick]`."""
