"""The hand-written cases, as far as possible as data."""
