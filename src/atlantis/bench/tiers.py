"""How large a benchmark is: which scenarios, methods and seeds, on which bases, in how many steps.

- smoke: every method once on a world of 120 cities, untuned: that all of it works, and nothing about which is better.
- cpu: bases that are shipped, a method or two of each kind, five seeds of Atlantis and of the order in A0 and A1, and
  a few methods and three seeds in the others. Most of a day on two cores. In bfloat16 where the processor has matrix
  instructions for it, else in float32, unless a precision is asked for. Plain fine-tuning answers new pairs to within
  200 km (experiments/2026-11-28_benchmark_2).
- gpu: all scenarios and methods; ten seeds, each with a base of its own, pretrained first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from atlantis import artifacts
from atlantis import config as configs
from atlantis.bench.methods import METHODS
from atlantis.bench.scenarios import SCENARIOS, Case, Setup
from atlantis.settings import SEEDED, RunConfig
from atlantis.world.cities import shipped_cities

SHIPPED, SHIPPED_CITY = "pretrained/dist_100k_1M_20epochs", "pretrained/city_dist_100k"
WARM_START = "pretrained/warm_start"
"""The first protocol's base."""
PRETRAINING = {"": "dist_100k_1M_20epochs", "city_": "scratch_base"}
"""Configs of the bases that a tier makes for itself, by what their names begin with."""

DEVELOPMENT_SEEDS = (1_000, 1_001, 1_002)
"""Of the trials, and of no run that is scored."""

FEW = 3
"""Seeds, where a tier has not the time for all."""

CPU_METHODS = (
    "naive", "naive_half_rate", "naive_double_rate", "joint", "replay_1pct", "replay", "distill", "l2sp", "wise",
    "lower_alone", "fixed_mean", "repair",
)  # fmt: skip
"""One or two of each kind, by what a method may use. Any other has its row by --only, such as A1/ewc."""
CPU_FEWER = {
    "A0": ("naive", "replay_1pct", "replay", "distill", "wise", "lower_alone"),
    "A2": ("naive", "replay"),
    "A3": ("naive", "replay"),
    "A4": ("naive", "replay", "distill"),
    "A5": ("naive", "replay"),
    "A6": ("naive", "wise"),
    "A7": ("naive", "replay", "new_rows"),
}
"""Two cores do not have the time for all of them everywhere. No replay in A6, where old pairs contradict the case."""


@dataclass(frozen=True)
class Tier:
    """`tuned`: whether methods are tuned first. `pretrained`: whether each seed has a base of its own.

    `fewer`: by scenario, the methods that take part where not all `methods` do. `few_seeds`: scenarios that have the
    first three seeds only. `steps`: by scenario, the length of a run where it is not that of the settings. `one_order`:
    whether a seed has one of A3's orders, in turn, or all.
    """

    name: str
    scenarios: Sequence[str]
    methods: Sequence[str]
    seeds: Sequence[int]
    settings: dict[str, Any]
    tuned: bool = True
    pretrained: bool = False
    fewer: Mapping[str, Sequence[str]] = field(default_factory=dict)
    few_seeds: Sequence[str] = ()
    steps: Mapping[str, int] = field(default_factory=dict)
    one_order: bool = False

    @property
    def makes_bases(self) -> bool:
        """Whether its runs start from bases that it makes first; else they are shipped."""
        return self.pretrained or self.name == "smoke"

    def methods_of(self, scenario: str) -> list[str]:
        """Names of the benchmark's methods that take part in a scenario, in the order of `METHODS`."""
        names = self.fewer.get(scenario, self.methods)
        return [name for name in METHODS if name in names]

    def seeds_of(self, scenario: str) -> Sequence[int]:
        """The seeds that a scenario has."""
        return self.seeds[:FEW] if scenario in self.few_seeds else self.seeds

    def in_precision(self, precision: str | None) -> Tier:
        """The tier, trained in bf16 or fp32; None: as it is."""
        if precision is None:
            return self
        training = self.settings["training"] | {"precision": precision}
        return replace(self, settings=self.settings | {"training": training})

    def cases(self, setup: Setup, scenario: str, seed: int) -> list[Case]:
        """A scenario's cases for a seed, in as many steps as they have in this tier."""
        return SCENARIOS[scenario](setup.in_steps(self.steps.get(scenario, setup.steps)), seed)

    def setup(self, output_root: Path) -> Setup:
        """What its cases share; the smoke tier's needs a table of cities that `prepare` writes."""
        from atlantis.model.fast.kernels import fast_bf16  # takes PyTorch with it

        data = {key: dict(value) for key, value in self.settings.items()}
        if self.name == "cpu" and fast_bf16():
            data["training"].setdefault("precision", "bf16")
        if self.name == "smoke":
            data["world"]["cities"] = str(_small_table(output_root).absolute())
        config = configs.checked(RunConfig, data | {"output_root": str(output_root)}, f"tier {self.name}")
        if self.name == "smoke":
            return Setup(config, lambda seed: "bench_smoke_base", lambda seed: "bench_smoke_city_base")
        if self.pretrained:
            return Setup(config, lambda seed: f"bench_base_seed{seed}", lambda seed: f"bench_city_base_seed{seed}")
        return Setup(config, lambda seed: SHIPPED, lambda seed: SHIPPED_CITY, self.one_order)

    def prepare(self, output_root: Path) -> None:
        """Write the small world's table of cities, where the tier has one."""
        if self.name == "smoke":
            artifacts.write_text(_small_table(output_root), shipped_cities().head(SMOKE_CITIES).to_csv(index=False))

    def bases(self, setup: Setup, seeds: Sequence[int]) -> list[RunConfig]:
        """The runs that make the bases of these seeds; none where they are shipped."""
        if self.name == "smoke":
            return [_small_base(setup, "characters"), _small_base(setup, "city")]
        made = []
        for start, config in PRETRAINING.items() if self.pretrained else ():
            file = configs.find(config)
            for seed in seeds:
                of_seed = [f"{key}={seed}" for key in SEEDED]
                base = configs.load(file, [f"output_root={setup.config.output_root}", *of_seed])
                made.append(base.model_copy(update={"name": f"bench_{start}base_seed{seed}"}))
        return made


def _small_table(output_root: Path) -> Path:
    return output_root / "bench" / "smoke" / "cities.csv"


def _small_base(setup: Setup, vocabulary: str) -> RunConfig:
    data = setup.config.model_dump(mode="json")
    city = "city_" if vocabulary == "city" else ""
    data |= {"name": f"bench_smoke_{city}base", "tokenizer": {"kind": vocabulary}}
    data["dataset"] |= {"kind": "distance", "n_train": 2_000}
    data["training"] |= {"max_steps": 40, "learning_rate": 3e-3}
    return RunConfig.model_validate(data)


SMOKE_CITIES = 120
_ENDS: dict[str, Any] = {"steps": [0], "fractions": [1.0]}

TIERS: dict[str, Tier] = {
    tier.name: tier
    for tier in (
        Tier(
            "smoke",
            ["A1", "A7"],
            list(METHODS),
            [42],
            {
                "world": {"regions": [{"count": 6}]},
                "dataset": {"n_train": 500, "n_val": 16, "n_test": 64},
                "model": {"hidden_size": 32, "n_layers": 5, "n_heads": 2, "mlp_size": 64},
                "training": {"batch_size": 64, "max_steps": 10, "learning_rate": 1e-3, "warmup_steps": 2},
                "evaluation": {"n_items": 32, **_ENDS},
            },
            tuned=False,
            fewer={"A7": ("naive", "new_rows")},
        ),
        Tier(
            "cpu",
            list(SCENARIOS),
            CPU_METHODS,
            [42, 43, 44, 45, 46],
            {
                "dataset": {"n_train": 20_000, "inter_ratio": 0.2},
                "training": {"batch_size": 128, "max_steps": 1_800, "learning_rate": 4e-4},
                "evaluation": _ENDS,
            },
            fewer=CPU_FEWER,
            few_seeds=["A2", "A3", "A4", "A5", "A6", "A7"],
            steps={"A3": 300, "A5": 300},
            one_order=True,
        ),
        Tier(
            "gpu",
            list(SCENARIOS),
            list(METHODS),
            list(range(42, 52)),
            {"training": {"batch_size": 512, "max_steps": 1_960, "learning_rate": 5e-5}, "evaluation": _ENDS},
            pretrained=True,
        ),
    )
}
