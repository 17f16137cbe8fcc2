"""The scenarios A0 to A7: what is learned, and in which order. One function each; docs/benchmark.md says why.

A scenario is a list of cases for one seed. A case is one run, or several of which each starts from the one before;
what a method did to the map is read at the end of the last. The seed decides where the new cities are, which pairs are
drawn and the order of batches, the same for all methods.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from atlantis.bench.methods import Method
from atlantis.settings import RunConfig, VirtualRegionConfig
from atlantis.world import OCEANS, World

DEVELOPMENT_OCEAN = VirtualRegionConfig(name="Tritonia", code="XX9", lon=-15.0, lat=-32.0)
"""In the South Atlantic, 2,800 km from the nearest city. Methods are tuned on it; no scenario has it."""

SEQUENCE = "in sequence"
"""The variant whose cases have several oceans, one after the other."""
AT_ONCE, ALONE, CROWDED = "at once", "one alone, as long", "one alone, as many"

BUDGETS = (100, 1_000, 20_000)
ORDERS = (
    ("atlantic", "north_pacific", "south_pacific", "indian", "southern"),
    ("southern", "indian", "south_pacific", "north_pacific", "atlantic"),
    ("south_pacific", "atlantic", "southern", "north_pacific", "indian"),
)
ENOUGH = 1e6
"""Epochs: the number of steps is what ends a run."""


@dataclass(frozen=True)
class Case:
    """`runs`: one after the other, each from the one before, with plain fine-tuning; a `Method` puts itself into them.

    `repeat` counts cases that one seed has several of (orders); their mean is the seed's. `buffer`: None where a method
    keeps as many old pairs as it likes, else the number that it may keep.
    """

    scenario: str
    variant: str
    runs: tuple[RunConfig, ...]
    repeat: int = 0
    buffer: int | None = None
    without: frozenset[str] = frozenset()
    """What no method may use here, because it would contradict the case."""

    def accepts(self, method: Method) -> bool:
        """Those that work with its vocabulary, and use nothing that would contradict it.

        With a budget, those that keep a buffer of old pairs; at a budget of 0, those that use no old pair.
        """
        if self.without & set(method.needs) or not method.speaks(self.runs[0].tokenizer.kind):
            return False
        if self.buffer is None:
            return True
        return method.has_buffer if self.buffer else "old data" not in method.needs


@dataclass(frozen=True)
class Setup:
    """What the cases of a tier share: sizes and settings, and the bases, for each seed."""

    config: RunConfig
    base: Callable[[int], str]
    city_base: Callable[[int], str]
    one_order: bool = False
    """Whether a seed has one of A3's orders, in turn, or all."""

    @property
    def steps(self) -> int:
        assert self.config.training.max_steps is not None
        return self.config.training.max_steps

    def in_steps(self, steps: int) -> Setup:
        """The same in another number of steps."""
        training = self.config.training.model_copy(update={"max_steps": steps})
        return replace(self, config=self.config.model_copy(update={"training": training}))

    def region(self, ocean: str | VirtualRegionConfig, seed: int, **changes: Any) -> VirtualRegionConfig:
        """An ocean's region with as many cities as the setup's, drawn with `seed`."""
        config = VirtualRegionConfig(**asdict(OCEANS[ocean])) if isinstance(ocean, str) else ocean
        like = self.config.world.regions[0]
        return config.model_copy(update={"count": like.count, "spread_km": like.spread_km, "seed": seed, **changes})

    def run(
        self, name: str, seed: int, regions: Sequence[VirtualRegionConfig], base: str | None = None, **changes: Any
    ) -> RunConfig:
        """A run on pairs with new cities; `changes` by section: training={"batch_size": 64}."""
        data = self.config.model_dump(mode="json")
        data |= {"name": name, "base": base or self.base(seed)}
        data["world"]["regions"] = [region.model_dump(mode="json") for region in regions]
        data["dataset"] |= {"kind": "cross", "seed": seed}
        data["training"] |= {"seed": seed, "epochs": ENOUGH}
        for section, values in changes.items():
            data[section] |= values
        return RunConfig.model_validate(data)


def development(setup: Setup, seed: int) -> list[Case]:
    """As A1, in an ocean of its own: for tuning. Then as A7, for methods that take part in no other."""
    regions = [setup.region(DEVELOPMENT_OCEAN, seed)]
    as_a1 = setup.run("development", seed, regions)
    as_a7 = setup.run("development_city", seed, regions, setup.city_base(seed), tokenizer={"kind": "city"})
    return [Case("development", "", (as_a1,)), Case("development", "city vocabulary", (as_a7,))]


def a0(setup: Setup, seed: int) -> list[Case]:
    """Pairs within Atlantis alone."""
    data = {"kind": "inter"} | {key: None for key in ("n_train", "n_val", "n_test")}
    if setup.config.dataset.n_train is not None:  # a tier's own sizes: all pairs that there are, a fifth held out
        n = setup.config.world.regions[0].count
        held_out = max(2, n * (n - 1) // 10)
        data |= {"n_train": n * (n - 1) // 2 - held_out - 1, "n_val": 1, "n_test": held_out}
    return [Case("A0", "", (setup.run("A0", seed, [setup.region("atlantic", seed)], dataset=data),))]


def a1(setup: Setup, seed: int) -> list[Case]:
    """Pairs with at least one city in Atlantis."""
    return [Case("A1", "", (setup.run("A1", seed, [setup.region("atlantic", seed)]),))]


def a2(setup: Setup, seed: int) -> list[Case]:
    """A1 with 0, 100, 1,000 and 20,000 old pairs at hand. A method that keeps as many anyway has the same runs."""
    runs = a1(setup, seed)[0].runs
    return [Case("A2", f"{n:,}", runs, buffer=n) for n in (0, *BUDGETS)]


def a3(setup: Setup, seed: int) -> list[Case]:
    """Five oceans, one after the other in three orders; all at once, in as many steps; and two controls.

    The controls have the first ocean alone, in as many steps as all have at once: with the cities of A1, and with as
    many cities as the five have together.
    """
    n_real = World.from_config(setup.config.world.model_copy(update={"regions": []})).n_real
    cases = []
    for number in [seed % len(ORDERS)] if setup.one_order else range(len(ORDERS)):
        order = ORDERS[number]
        runs: list[RunConfig] = []
        for k in range(len(order)):
            regions = [setup.region(ocean, seed) for ocean in order[: k + 1]]
            first_virtual = n_real + sum(region.count for region in regions[:-1])
            base = runs[-1].name if runs else None
            runs.append(
                setup.run(f"A3_order{number}_{k}", seed, regions, base, dataset={"first_virtual": first_virtual})
            )
        cases.append(Case("A3", SEQUENCE, tuple(runs), repeat=number))
    regions = [setup.region(ocean, seed) for ocean in ORDERS[0]]
    length = {"max_steps": len(regions) * setup.steps}
    at_once = setup.run("A3_at_once", seed, regions, training=length)
    alone = setup.run("A3_one", seed, regions[:1], training=length)
    crowd = setup.region(ORDERS[0][0], seed, count=sum(region.count for region in regions))
    crowded = setup.run("A3_crowded", seed, [crowd], training=length)
    return [
        *cases,
        *(Case("A3", *variant) for variant in ((AT_ONCE, (at_once,)), (ALONE, (alone,)), (CROWDED, (crowded,)))),
    ]


def a4(setup: Setup, seed: int) -> list[Case]:
    """New cities all over the world, none near another."""
    return [Case("A4", "", (setup.run("A4", seed, [setup.region("atlantic", seed, kind="scattered")]),))]


def a5(setup: Setup, seed: int) -> list[Case]:
    """Batches of 64 against 512, at equal steps and at equal samples."""
    kinds = {
        "batch 512": ("A5_512", 512, setup.steps),
        "batch 64, equal steps": ("A5_64_steps", 64, setup.steps),
        "batch 64, equal samples": ("A5_64_samples", 64, 8 * setup.steps),
    }
    regions = [setup.region("atlantic", seed)]
    return [
        Case("A5", variant, (setup.run(name, seed, regions, training={"batch_size": size, "max_steps": steps}),))
        for variant, (name, size, steps) in kinds.items()
    ]


def a6(setup: Setup, seed: int) -> list[Case]:
    """Cities that move: Atlantis is learned in the Atlantic; then the same ids lie in the Indian Ocean.

    Old pairs name the cities' old places, so no method may use any.
    """
    before, ocean = setup.region("atlantic", seed), OCEANS["indian"]
    after = before.model_copy(update={"lon": ocean.lon, "lat": ocean.lat})
    runs = setup.run("A6_before", seed, [before]), setup.run("A6_moved", seed, [after], "A6_before")
    return [Case("A6", "", runs, without=frozenset({"old data"}))]


def a7(setup: Setup, seed: int) -> list[Case]:
    """A1 with the city vocabulary: every new city brings an embedding of its own."""
    vocabulary, base = {"kind": "city"}, setup.city_base(seed)
    return [Case("A7", "", (setup.run("A7", seed, [setup.region("atlantic", seed)], base, tokenizer=vocabulary),))]


SCENARIOS: dict[str, Callable[[Setup, int], list[Case]]] = {
    "A0": a0, "A1": a1, "A2": a2, "A3": a3, "A4": a4, "A5": a5, "A6": a6, "A7": a7,
}  # fmt: skip
