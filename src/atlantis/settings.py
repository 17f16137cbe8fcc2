"""Every stage's settings, their defaults and what is allowed: pydantic models, no files.

The defaults are the study's. `atlantis.config` reads and writes them as YAML.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    PlainValidator,
    TypeAdapter,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from atlantis.fields import READ_ONLY, Count, Int, OwnStrategySettings, Positive, Seed, Settings, StrategySettings
from atlantis.names import MAX_CITIES
from atlantis.strategies.registry import checked_settings

SEEDED = ("dataset.seed", "model.seed", "training.seed")
"""What a seed of a study, a sweep or the benchmark sets: pairs drawn, a new model's weights, the order of batches."""

MOST_BYTES = 200
"""Of a name, in UTF-8: a folder's may have 255, and beside it lie files whose names begin with it."""


def folder_name(name: str | None) -> str | None:
    """`name`, if it can be a part of a path anywhere. Raises ValueError."""
    if name is not None and not (re.fullmatch(r"\w[\w.+=-]{0,119}", name) and len(name.encode()) <= MOST_BYTES):
        raise ValueError(
            f"use up to 120 letters, digits and . _ + = - (not first . + = -), {MOST_BYTES} bytes: it names a folder"
        )
    return name


class VirtualRegionConfig(Settings):
    """Cities that never existed, in one place: see `atlantis.world.virtual`."""

    name: str = Field(default="Atlantis", min_length=1, max_length=100, description="its cities are NAME_001, ...")
    code: str = Field(default="XX0", min_length=1, max_length=20, description="country code of its cities")
    kind: Literal["gaussian", "flat", "scattered"] = Field(default="gaussian", description="scattered: over the globe")
    lon: float = Field(default=-35.0, ge=-180, le=180, description="centre, degrees")
    lat: float = Field(default=35.0, ge=-90, le=90, description="centre, degrees")
    spread_km: float = Field(default=500.0, gt=0, le=100_000, description="gaussian: standard deviation on the sphere")
    spread_degrees: float = Field(
        default=3.0, gt=0, le=3600, description="flat: standard deviation of longitude and latitude"
    )
    count: Annotated[Int, Field(ge=1, le=MAX_CITIES, description="of cities")] = 100
    seed: Seed = Field(default=42, description="of the places of its cities")

    @field_validator("name", "code")
    @classmethod
    def _plain_text(cls, text: str) -> str:
        if text != text.strip() or not text.isprintable():
            raise ValueError(f"must be plain text without control characters or spaces around it, not {text!a}")
        return text


class WorldConfig(Settings):
    """Real cities and the virtual regions after them."""

    cities: str | None = Field(default=None, description="the user's file of cities; null: the 5,075 shipped ones")
    seed: Seed = Field(default=42, description="of the shuffle that gives real cities their ids")
    regions: list[VirtualRegionConfig] = Field(default=[VirtualRegionConfig()], max_length=1000, description="invented")

    @field_validator("regions")
    @classmethod
    def _distinct(cls, regions: list[VirtualRegionConfig]) -> list[VirtualRegionConfig]:
        for field in ("name", "code"):
            values = Counter(getattr(region, field) for region in regions)
            value, n = max(values.items(), key=lambda item: item[1], default=("", 0))
            if n > 1:
                raise ValueError(f"two regions have the {field} {value!r}; give each its own")
        return regions


STUDY_SIZES = {  # train, validation, test; SPEC: Datasets
    "distance": (1_000_000, 128, 10_000),
    "inter": (4_000, 128, 500),
    "cross": (100_000, 128, 10_000),
    "mixed": (120_000, 128, 0),
}

PARTS_HELD_OUT = {"n_val": 128, "n_test": 10_000}
"""Validation and test questions of a dataset of parts, where nothing was said."""


class Region(Settings):
    """Cities of a region: `inside` it, or `touching` it (some of them inside); `virtual` is all virtual cities."""

    inside: Annotated[str, Field(min_length=1)] | None = None
    touching: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _either(self) -> Self:
        if (self.inside is None) == (self.touching is None):
            raise ValueError("give inside or touching, with a region's name, such as {inside: Atlantis}")
        return self


class PartConfig(Settings):
    """Questions of one task about the cities of the world, or of a region."""

    task: str = Field(default="distance", description="a task's name, or my_module:MyTask")
    cities: Literal["world"] | Region = Field(default="world", description="world: the real ones; else a Region")
    n_train: Count = Field(description="0: for validation and test only")
    n_val: Count | None = Field(default=None, description="of the dataset's; null: a share of what is left of them")
    n_test: Count | None = Field(default=None, description="of the dataset's; null: a share of what is left of them")

    @model_serializer(mode="wrap")
    def _as_it_was_said(self, dump: Any) -> dict[str, Any]:
        """Without the numbers that it leaves to the dataset: so what was made before there were any stays the same."""
        return {key: value for key, value in dump(self).items() if value is not None}

    @model_validator(mode="after")
    def _has_questions(self) -> Self:
        if not (self.n_train or self.n_val or self.n_test):
            raise ValueError("n_train is 0, so give n_val or n_test; a part needs some questions")
        return self

    @field_validator("cities", mode="before")
    @classmethod
    def _one_of_three(cls, value: Any) -> Any:
        """One message, where a union of types would give one for each."""
        keys = {key for key, name in value.items() if name is not None} if isinstance(value, dict) else set()
        is_region = len(keys) == 1 and set(value) <= {"inside", "touching"}
        if not (is_region or isinstance(value, Region) or value == "world"):
            raise ValueError(f"must be world, {{inside: REGION}} or {{touching: REGION}}, not {value!a}")
        return value


class DatasetConfig(Settings):
    """Which questions about cities, how many. Sizes left out are the study's for that kind: see `sizes`."""

    kind: Literal["distance", "inter", "cross", "mixed", "parts"] = Field(
        default="distance", description="distance: real; cross: some invented; inter: invented; mixed: old and cross"
    )
    name: Annotated[str | None, AfterValidator(folder_name)] = Field(default=None, description="null: kind, size, seed")
    n_train: Positive | None = Field(default=None, description="questions to learn from; null: the study's number")
    n_val: Count | None = Field(default=None, description="questions for validation; null: the study's number")
    n_test: Count | None = Field(default=None, description="questions for tests; null: the study's number")
    seed: Seed = Field(default=42, description="of the draw of questions")
    order: Literal["fair", "smaller_first"] = Field(
        default="fair",
        description="which city comes first: a fair coin decides; smaller_first: the smaller id, except in questions "
        "about real and virtual cities (as the study of 2025 had it)",
    )
    inter_ratio: float = Field(
        default=0.1, ge=0, le=1, description="cross, touching: share of questions with all cities in the region"
    )
    first_virtual: Count | None = Field(default=None, description="first virtual id; null: found from the world")
    n_distance: Count = Field(default=20_000, description="mixed: pairs of the world among n_train")
    n_cross: Count = Field(default=100_000, description="mixed: cross pairs among n_train")
    parts: list[PartConfig] | None = Field(default=None, min_length=1, max_length=200, description="in place of a kind")

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Numbers of questions for train, validation, test; the study's where nothing was said."""
        if self.parts is not None:
            study = (sum(part.n_train for part in self.parts), *map(self._held_out, ("n_val", "n_test")))
        else:
            # Parts that are missing are refused below.
            study = STUDY_SIZES.get(self.kind, (0, *PARTS_HELD_OUT.values()))
        if self.kind == "mixed":
            study = (self.n_distance + self.n_cross, *study[1:])
        numbers = (self.n_train, self.n_val, self.n_test)
        return tuple(s if a is None else a for a, s in zip(numbers, study, strict=True))  # type: ignore[return-value]

    def _held_out(self, key: Literal["n_val", "n_test"]) -> int:
        """Validation or test questions of all parts, where the dataset says nothing: the parts' own, or enough."""
        return self._own(key) + (PARTS_HELD_OUT[key] if self._sharing(key) else 0)

    def _check_total(self, key: Literal["n_val", "n_test"], total: int) -> None:
        """ValueError if the parts' own numbers are more than all, or if nothing takes up the rest."""
        own = self._own(key)
        if self.parts and (own > total or (own < total and not self._sharing(key))):
            raise ValueError(f"{key} is {total}, but its parts have {own}; leave it out beside parts")

    def _own(self, key: Literal["n_val", "n_test"]) -> int:
        """Of the parts that say how many."""
        return sum(getattr(part, key) or 0 for part in self.parts or ())

    def _sharing(self, key: Literal["n_val", "n_test"]) -> bool:
        """Whether some part takes a share of what is left: one that trains, and does not say how many."""
        return any(part.n_train and getattr(part, key) is None for part in self.parts or ())

    @model_validator(mode="before")
    @classmethod
    def _as_it_was_written(cls, value: Any) -> Any:
        """`offset` is what first_virtual was called; parts need no kind."""
        if not isinstance(value, dict):
            return value
        value = dict(value)
        if "offset" in value and "first_virtual" not in value:
            value["first_virtual"] = value.pop("offset")
        if value.get("parts") is not None:
            value.setdefault("kind", "parts")
        return value

    @model_validator(mode="after")
    def _parts_add_up(self) -> Self:
        if (self.kind == "parts") != (self.parts is not None):
            raise ValueError(
                f"kind is {self.kind}; give a kind alone, or parts: [{{task: distance, cities: world, n_train: 1000}}]"
            )
        if self.kind == "mixed" and self.sizes[0] != self.n_distance + self.n_cross:
            raise ValueError(
                f"n_train is {self.n_train}, but n_distance + n_cross is {self.n_distance + self.n_cross}; "
                "for a mixed dataset give n_distance and n_cross and leave n_train out"
            )
        if self.parts and self.sizes[0] != (total := sum(part.n_train for part in self.parts)):
            raise ValueError(f"n_train is {self.n_train}, but its parts have {total}; leave it out beside parts")
        if self.parts and self.sizes[0] == 0:
            raise ValueError("no part has training questions; give one of them an n_train above 0")
        _, n_val, n_test = self.sizes
        self._check_total("n_val", n_val)
        self._check_total("n_test", n_test)
        return self


class TokenizerConfig(Settings):
    """`characters`: the study's 44 symbols. `city`: these and one token per city."""

    kind: Literal["characters", "city"] = Field(default="characters", description="of the vocabulary")
    version: Literal[1, 2] | None = Field(default=None, description="of symbols: 2 has ; and A-Z too; null: as needed")


class ModelConfig(Settings):
    """Qwen2's architecture; the defaults are the study's 1,588,096 parameters."""

    hidden_size: Annotated[Positive, Field(le=100_000, description="width of the hidden states")] = 128
    n_layers: Annotated[Positive, Field(le=10_000, description="blocks")] = 6
    n_heads: Annotated[Positive, Field(le=10_000, description="attention heads of a block")] = 4
    mlp_size: Annotated[Positive, Field(le=1_000_000, description="width inside a block's MLP")] = 512
    init_std: float = Field(default=0.1, gt=0, description="of linear and embedding weights")
    context: Annotated[Positive, Field(le=1_000_000, description="tokens of the longest row")] = 32
    rope_theta: float = Field(default=10_000.0, gt=0, description="base of the rotary positions' wavelengths")
    seed: Seed = Field(default=42, description="of the initial weights")

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.hidden_size % (2 * self.n_heads):
            raise ValueError(
                f"hidden_size ({self.hidden_size}) must be a multiple of 2 * n_heads ({2 * self.n_heads}): "
                "rotary positions need an even width in each head"
            )
        return self


class AnchorsConfig(Settings):
    """A few cities that are met first, in pairs with all others, so that their ids are learned sooner."""

    cities: Positive = Field(default=300, description="so many, drawn at random from those of the training pairs")
    steps: Positive = Field(default=2000, description="in these first steps every pair has an anchor")


class TrainingConfig(Settings):
    """AdamW, warm-up, then the schedule; one epoch is every training pair once."""

    batch_size: Positive = Field(default=512, description="rows of a step")
    epochs: float = Field(default=10.0, gt=0, description="passes over the training rows")
    max_steps: Count | None = Field(default=None, description="stop after so many steps even if epochs remain")
    learning_rate: float = Field(default=5e-5, gt=0, description="the highest, at the end of the warm-up")
    weight_decay: float = Field(default=0.01, ge=0, description="of matrices, not of norms and biases")
    betas: Annotated[
        tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]],
        Field(strict=False, description="of AdamW"),
    ] = (0.9, 0.999)
    eps: float = Field(default=1e-8, gt=0, description="of AdamW")
    loss: Literal["answer", "row"] = Field(default="answer", description="learned: an answer's tokens, or a row's")
    max_grad_norm: float | None = Field(default=1.0, gt=0, description="gradients are clipped to it; null: never")
    warmup_steps: Count = Field(default=50, description="in which the rate rises from 0")
    schedule: Literal["linear", "cosine", "constant", "wsd"] = Field(
        default="linear", description="after the warm-up; wsd (stable, then decay): full until half-way, then linear"
    )
    min_lr_ratio: float = Field(default=0.0, ge=0, le=1, description="the rate at the end, as a share of learning_rate")
    seed: Seed = Field(default=42, description="of the order of batches")
    anchors: AnchorsConfig | None = Field(default=None, description="null: all pairs from the first step on")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto: a GPU if there is one")
    compile: Literal["auto", "yes", "no"] = Field(default="auto", description="yes: torch.compile; no: plain PyTorch")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto",
        description="auto: bf16 on a GPU, fp32 on a CPU; bf16 pays with AMX or AVX512_BF16; fp16 scales the loss and "
        "needs a GPU",
    )


class EvaluationConfig(Settings):
    """When a run is evaluated and saved (step 0 always), and on how many fixed items of the test split."""

    steps: list[Count] = Field(
        default=[0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000], description="after which a run is evaluated"
    )
    fractions: list[Annotated[float, Field(ge=0, le=1)]] = Field(
        default=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0], description="the same, as shares of all steps"
    )
    n_items: Positive = Field(default=512, description="test questions of each task and slice, at most")
    seed: Seed = Field(default=42, description="of the choice of items")
    probe: bool = Field(default=True, description="whether the checkpoints are probed at the end")

    @field_validator("steps")
    @classmethod
    def _from_zero(cls, steps: list[int]) -> list[int]:
        return sorted({0, *steps})


class ProbeConfig(Settings):
    """The linear probe: what the protocol of raw degrees draws, and the number of repeats of both."""

    n_cities: Positive = Field(default=5000, description="degrees: real cities that are drawn")
    n_train: Positive = Field(default=3000, description="degrees: those of them that the probe is fitted on")
    alpha: float = Field(default=10.0, ge=0, description="degrees: penalty of the ridge regression")
    seed: Seed = Field(default=42, description="of the splits and folds")
    layers: list[Count] = Field(default=[3, 4], min_length=1, description="blocks counted from 0")
    repeats: Positive = Field(default=5, description="degrees: splits; sphere: folds, at least 2")
    measures: bool = Field(default=True, description="beside both protocols, what became of the map (analysis/map)")

    @model_validator(mode="after")
    def _something_to_test(self) -> Self:
        if self.n_train >= self.n_cities:
            raise ValueError(f"n_train ({self.n_train}) must be less than n_cities ({self.n_cities})")
        return self


def _strategy(value: Any, info: ValidationInfo) -> StrategySettings:
    """Settings of the class that the strategy itself has for them: a new strategy is a new file, and nothing here
    knows it.
    """
    if isinstance(value, StrategySettings):
        return value
    if info.context == READ_ONLY and isinstance(value, dict) and ":" in str(value.get("name")):
        return OwnStrategySettings.model_validate(value)
    if value in (None, {}, {"name": "naive"}):
        return StrategySettings()
    return checked_settings(value)


_Strategy = Annotated[StrategySettings, PlainValidator(_strategy)]
_LIST = TypeAdapter(list[_Strategy])


def _strategies(value: Any, info: ValidationInfo) -> StrategySettings | list[StrategySettings]:
    """One strategy, or several at once as a list."""
    if isinstance(value, list):
        return _LIST.validate_python(value, context=info.context)
    return _strategy(value, info)


Tracker = Literal["tensorboard", "wandb", "mlflow", "trackio", "comet_ml", "aim", "clearml", "dvclive", "swanlab"]


class RunConfig(Settings):
    """One training run, from the world to the probes."""

    name: Annotated[str | None, AfterValidator(folder_name)] = Field(
        default=None, description="the run's folder; the config file's name when left out"
    )
    description: str = Field(default="", description="what the run is for, in a line")
    output_root: str = Field(default="outputs", description="the folder of runs, worlds and datasets")
    base: str | None = Field(
        default=None, description="run, shipped model or checkpoint to start from; null: from scratch"
    )
    base_config: str | None = Field(default=None, description="config that makes the base when it is missing")
    world: WorldConfig = WorldConfig()
    dataset: DatasetConfig = DatasetConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    strategy: Annotated[
        Any, PlainValidator(_strategies), Field(description="how old knowledge is kept; a list combines several")
    ] = StrategySettings()
    evaluation: EvaluationConfig = EvaluationConfig()
    probe: ProbeConfig = ProbeConfig()
    trackers: list[Tracker] = Field(default=[], description="programs that get the numbers too")

    @property
    def strategies(self) -> list[StrategySettings]:
        """The strategies of the run, naive left out."""
        listed = self.strategy if isinstance(self.strategy, list) else [self.strategy]
        return [strategy for strategy in listed if strategy.name != "naive"]

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.dataset.kind in ("inter", "cross", "mixed") and not self.world.regions:
            raise ValueError(f"dataset.kind is {self.dataset.kind}, which needs a virtual region in world.regions")
        if self.training.loss == "row" and self.tokenizer.kind == "city":
            raise ValueError("training.loss is row: that needs tokenizer.kind=characters, or a model writes no cities")
        if max(self.probe.layers) >= self.model.n_layers:
            raise ValueError(
                f"probe.layers asks for block {max(self.probe.layers)}, but the model's {self.model.n_layers} "
                f"blocks are 0 to {self.model.n_layers - 1}"
            )
        return self
