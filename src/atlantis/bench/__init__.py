"""The benchmark: which strategy keeps the old map, learns the new cities, and has both on one map?

    records, n_failed = score(Plan.of("smoke"), backend=lambda folder: Local())
    print(page(records))

docs/benchmark.md is the protocol. It was fixed before any method was scored.
"""

from atlantis.bench.given import Given
from atlantis.bench.leaderboard import page, write_pictures
from atlantis.bench.methods import METHODS, Method, read_method
from atlantis.bench.plan import Plan
from atlantis.bench.protocol import counts, score
from atlantis.bench.record import BenchRecord, read_records
from atlantis.bench.scenarios import SCENARIOS
from atlantis.bench.tiers import TIERS
from atlantis.bench.web_page import web_page

__all__ = [
    "METHODS", "SCENARIOS", "TIERS", "BenchRecord", "Given", "Method", "Plan", "counts", "page", "read_method",
    "read_records", "score", "web_page", "write_pictures",
]  # fmt: skip
