"""Many runs, on one machine or many: a grid over a config or a Python loop, carried out and gathered as one table.

    sweep = read("rates.yaml", ["training.max_steps=100"])
    outcomes = carry_out(sweep, Local(workers=4))
    pandas.read_parquet(sweep.results)

- Every run is an ordinary run in its own process: `atlantis train <its config> --resume`. A process that dies takes no
  other with it, and the lock of the run's folder sees to it that no two work on the same run.
- What is finished is skipped, what died goes on from its saved state, what fails stops no other.
- Backends differ in where the processes run, and in nothing else: `Local`, `Ray`, `Slurm`. All of them need the same
  folders at the same paths.
"""

from atlantis.sweep.child import Job, Outcome, Queue
from atlantis.sweep.cluster import Ray, Slurm
from atlantis.sweep.conduct import Backend, carry_out
from atlantis.sweep.local import Local
from atlantis.sweep.plan import Planned, Sweep, grid, read, sweep_of
from atlantis.sweep.results import gather

__all__ = [
    "Backend", "Job", "Local", "Outcome", "Planned", "Queue", "Ray", "Slurm", "Sweep", "carry_out", "gather",
    "grid", "read", "sweep_of",
]  # fmt: skip
