"""What can be known to be impossible before anything is built, written or trained."""

from __future__ import annotations

from atlantis import limits
from atlantis.data.encoding import check_symbols, longest_whole_row, needed_by
from atlantis.data.mixture import check_possible, tasks_of
from atlantis.errors import UserError
from atlantis.model.checkpoint import check_world
from atlantis.model.folder import n_weights, read_config, rope_theta
from atlantis.readout.splits import check_probe
from atlantis.settings import RunConfig, TrainingConfig
from atlantis.training.base import Base
from atlantis.training.device import choose_device
from atlantis.vocabulary import Vocabulary
from atlantis.world import World

BYTES_PER_WEIGHT = 16  # the weight, its gradient and AdamW's two moments, in float32
BYTES_PER_PAIR = 64
BYTES_PER_MASKED = 2  # while the mask of all positions by all is made


def check_request(config: RunConfig, world: World) -> None:
    """UserError for more pairs than exist, too few cities for the probe, long ids, and sizes that no memory holds."""
    check_possible(config.dataset, world)
    check_precision(config.training)
    if config.evaluation.probe:
        try:
            check_probe(world, config.probe)
        except UserError as problem:
            raise UserError(f"{problem} (evaluation.probe=false trains without a probe)") from None
    tasks, sizes = tasks_of(config.dataset), config.model
    vocabulary = _new_vocabulary(config, len(world))
    check_symbols(vocabulary, tasks, "a model of this run")
    for task in tasks:
        length = longest_whole_row(task.form, vocabulary)
        if length > sizes.context:
            raise UserError(
                f"model.context: {sizes.context} is too short for ids up to {len(world) - 1}, "
                f"whose rows have {length} tokens (task {task.name})"
            )
    weights = n_weights(
        {
            "vocab_size": vocabulary.size,
            "hidden_size": sizes.hidden_size,
            "intermediate_size": sizes.mlp_size,
            "num_hidden_layers": sizes.n_layers,
        }
    )
    _check_memory(f"model: its {weights:,} weights", BYTES_PER_WEIGHT * weights)
    _check_memory(f"model.context: its mask of {sizes.context**2:,} numbers", BYTES_PER_MASKED * sizes.context**2)
    questions = sum(config.dataset.sizes)
    noun = "questions" if config.dataset.parts else "pairs"
    _check_memory(f"dataset: its {questions:,} {noun}", BYTES_PER_PAIR * questions)


def _new_vocabulary(config: RunConfig, n_cities: int) -> Vocabulary:
    """That of a model which a run makes from scratch."""
    version = config.tokenizer.version or needed_by(tasks_of(config.dataset))
    return Vocabulary(config.tokenizer.kind, n_cities, version)


def check_precision(training: TrainingConfig) -> None:
    """UserError for fp16 on a CPU."""
    if training.precision == "fp16" and choose_device(training.device).type != "cuda":
        raise UserError("training.precision: fp16 is for a GPU; on a CPU use fp32, or bf16 where it is fast, or auto")


def _check_memory(request: str, needed: int) -> None:
    held = limits.memory_bytes()
    if needed > held:
        raise UserError(
            f"{request} need {_gigabytes(needed)} GB to train, this process may use {_gigabytes(held)}; ask for fewer"
        )


def _gigabytes(n: int) -> str:
    return f"{n / 1e9:,.0f}" if n >= 1e10 else f"{n / 1e9:.2g}"


def check_base_to_come(made: RunConfig, config: RunConfig) -> None:
    """UserError for a base, not made yet, whose symbols the run could not use: before hours are spent on it."""
    if made.base is None:
        _check_vocabulary(_new_vocabulary(made, 1), config, f"the base {config.base} of {config.base_config}")


def _check_vocabulary(theirs: Vocabulary, config: RunConfig, of: str) -> None:
    """UserError if a base, `of`, has other tokens than a run asks for or needs."""
    if theirs.kind != config.tokenizer.kind:
        raise UserError(
            f"tokenizer.kind: {of} is trained with {theirs.kind!r}, this run asks for {config.tokenizer.kind!r}; use "
            "the base's"
        )
    check_symbols(theirs, tasks_of(config.dataset), of)
    if config.tokenizer.version not in (None, theirs.version):
        raise UserError(
            f"tokenizer.version: {of} has version {theirs.version}, this run asks for {config.tokenizer.version}; "
            "leave it out beside a base"
        )


def check_base(base: Base, config: RunConfig, world: World) -> None:
    """UserError for a base of another world, of another vocabulary or of other sizes, from its small files alone."""
    check_world(base.checkpoint, world)
    _check_vocabulary(Vocabulary.load(base.checkpoint), config, f"the base {base.checkpoint}")
    config_of_base = read_config(base.checkpoint)
    theirs = {
        "hidden_size": config_of_base["hidden_size"],
        "n_layers": config_of_base["num_hidden_layers"],
        "n_heads": config_of_base["num_attention_heads"],
        "mlp_size": config_of_base["intermediate_size"],
        "context": config_of_base["max_position_embeddings"],
        "rope_theta": rope_theta(config_of_base),
    }
    sizes = {key: getattr(config.model, key) for key in theirs}
    longer = sizes["context"] >= theirs["context"]  # positions have no weights, so a longer context is the same model
    theirs["context"] = sizes["context"] if longer else theirs["context"]
    others = {f"model.{key}": (sizes[key], value) for key, value in theirs.items() if sizes[key] != value}
    if others:
        differences = "; ".join(f"{key} is {ours}, the base has {value}" for key, (ours, value) in others.items())
        remedy = " ".join(f"{key}={value}" for key, (_, value) in others.items())
        raise UserError(
            f"the base {base.checkpoint} has other sizes: {differences}. To start from this base set {remedy}; a new "
            "model of these sizes has no base (base=null)"
        )
