"""Training steps: our engine (its kernels, plain PyTorch, compiled) against transformers' Trainer as the study used it.

The peer is `Qwen2ForCausalLM` of the same size under `Trainer`: rows are text, tokenised one by one when they are asked
for, padded to 32 tokens, with labels on the completion only; eager, AdamW, no logging, evaluation or saving. Each rival
has done one step before its first round. In every round the machine's ceiling is measured too.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch

from atlantis import Dataset, DatasetConfig, TrainingConfig, World
from atlantis.data.encoding import longest_row, prefix
from atlantis.data.rows import Rows
from atlantis.model import Transformer, save_model
from atlantis.model.fast.kernels import fast_bf16
from atlantis.model.folder import qwen2_config
from atlantis.tasks import Questions
from atlantis.tasks.distance import DISTANCE
from atlantis.training.loop import Steps
from atlantis.training.order import Order
from atlantis.training.step import Engine
from atlantis.vocabulary import SYMBOLS, TOKEN, Vocabulary
from checks.benchmarks import count
from checks.benchmarks.ceiling import ceiling, synchronize, weight_products
from checks.benchmarks.common import Lap, Options, five_digits, race, ratio, summary
from checks.benchmarks.count import Sizes

INIT_STD = 0.1
IGNORED = -100
N_BATCHES = 32  # in the data; then they are seen again, in another order


def new_model(s: Sizes) -> Transformer:
    model = Transformer(
        len(SYMBOLS), s.n_outputs, width=s.width, n_layers=s.n_layers, n_heads=s.n_heads, mlp_width=s.mlp_width
    )
    model.initialise(INIT_STD, torch.Generator().manual_seed(0))
    return model


def some_pairs(n: int) -> tuple[Questions, Vocabulary]:
    world = World.build(regions=())
    pairs = Dataset.build(world, DatasetConfig(n_train=n, n_val=0, n_test=0)).splits["train"]
    return pairs, Vocabulary("characters", len(world))


def engine(lap: Lap, s: Sizes, batch: int, steps: int, device: str, **changes: str) -> None:
    """A rival: `steps` steps a round of our engine, by the default settings but for `changes`."""
    settings = TrainingConfig.model_validate({"batch_size": batch, **changes})
    ours = Engine(new_model(s), settings, torch.device(device))
    assert settings.compile != "yes" or ours.compiled, "compilation is not possible here"
    way = "tree" if ours.kernels else "neither" if settings.compile == "no" else "both"
    pairs, vocabulary = some_pairs(N_BATCHES * batch)
    rows = Rows(pairs, vocabulary, device)
    seen, done = Steps(ours, rows, Order(len(rows), batch, seed=0), total=1_000_000), 0
    while True:
        until = done + (steps if done else 1)
        while done < until:
            done += len(seen.take(done, until))
        synchronize(device)
        lap({"way": way, "gpu_mb": gpu_mb(device)})


class TextRows(torch.utils.data.Dataset):
    """Rows as text; each is tokenised when it is asked for, and padded to the context."""

    def __init__(self, pairs: Questions, tokenizer: Any) -> None:
        columns = DISTANCE.form.text_columns(pairs.cities, pairs.answer)
        self.texts = [
            "".join(row) for row in zip(*(columns[key].to_pylist() for key in ("prompt", "completion")), strict=True)
        ]
        self.tokenizer = tokenizer

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, row: int) -> dict[str, list[int]]:
        ids = self.tokenizer(self.texts[row], add_special_tokens=False)["input_ids"]
        n_prompt, padding = ids.index(TOKEN["="]) + 1, count.CONTEXT - len(ids)
        return {
            "input_ids": ids + [self.tokenizer.pad_token_id] * padding,
            "attention_mask": [1] * len(ids) + [0] * padding,
            "labels": [IGNORED] * n_prompt + ids[n_prompt:] + [IGNORED] * padding,
        }


def trainer(lap: Lap, s: Sizes, batch: int, steps: int, device: str) -> None:
    """A rival: `steps` steps a round of transformers' Trainer; bfloat16 on a GPU, as our engine."""
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM, Trainer, TrainerCallback, TrainingArguments

    class Laps(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if (state.global_step - 1) % steps == 0:  # the first step is the warm-up
                synchronize(device)
                lap({"way": "peer", "gpu_mb": gpu_mb(device)})

    pairs, vocabulary = some_pairs(N_BATCHES * batch)
    ours = new_model(s)
    with tempfile.TemporaryDirectory() as folder:
        save_model(ours, Path(folder))
        vocabulary.save_transformers(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = Qwen2ForCausalLM(Qwen2Config(**qwen2_config(ours), initializer_range=INIT_STD))
        assert model.num_parameters() == s.n_parameters
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=1_000_000,  # until the last round
            per_device_train_batch_size=batch,
            learning_rate=3e-4,
            weight_decay=0.01,
            warmup_steps=50,
            logging_strategy="no",
            save_strategy="no",
            eval_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=device == "cpu",
            bf16=device != "cpu",
            dataloader_pin_memory=device != "cpu",
        )
        Trainer(model=model, args=arguments, train_dataset=TextRows(pairs, tokenizer), callbacks=[Laps()]).train()


def gpu_mb(device: str) -> int | None:
    """The most that PyTorch allocated on the GPU, in 1e6 bytes; None on a CPU."""
    return None if device == "cpu" else round(torch.cuda.max_memory_allocated() / 1e6)


def compare(options: Options, device: str) -> dict[str, Any]:
    """Samples per second of each rival, what share of the ceiling that is, and the floor that counts and ceiling set.

    The floor is the time that the fewest operations (the tree of `count`) take at the speed of square products. A
    rival's `share` counts the operations that it does itself, against products in its own precision.
    """
    s = Sizes(width=32, n_layers=2, n_heads=2, mlp_width=64) if options.quick else Sizes()
    batch, steps = (16, 1) if options.quick else (count.BATCH, 2 if device == "cpu" else 50)
    side = 128 if options.quick else 2048 if device == "cpu" else 8192
    vocabulary = Vocabulary("characters", 5075)
    needs = count.training(s, vocabulary, World.build(regions=()), batch, itemsize=4 if device == "cpu" else 2)
    n_prefix, length = len(prefix(DISTANCE.form, vocabulary)), longest_row(DISTANCE.form, vocabulary) - 1
    own = weight_products(count.forward(s, batch, length, n_prefix, count.ASKED))
    ours = partial(engine, s=s, batch=batch, steps=steps, device=device)
    works: dict[str, Any] = {
        "engine": ours,
        "ceiling": partial(ceiling, products=own, side=side, megabytes=1 if options.quick else 256, device=device),
        "trainer": partial(trainer, s=s, batch=batch, steps=steps, device=device),
    }
    if device == "cpu":  # on a GPU the default is compiled
        works["plain"] = partial(ours, compile="no")
    if device == "cpu" and not options.quick:
        works["compiled"] = partial(ours, compile="yes")
        if fast_bf16():
            works["bf16"] = partial(ours, precision="bf16")
            works["ceiling_bf16"] = partial(works["ceiling"], bf16=True)
    rivals = race(works, options)

    limits = {
        kind: {key: [found[key] for found in rivals[kind].found] for key in ("square", "own", "copy")}
        for kind in works
        if kind.startswith("ceiling")
    }
    results: dict[str, Any] = {}
    for name in (name for name in works if name not in limits):
        rival, square = rivals[name], limits["ceiling_bf16" if name == "bf16" else "ceiling"]["square"]
        rates = [steps * batch / seconds for seconds in rival.seconds]
        flops = needs[rival.found[-1]["way"]].flops
        results[name] = {
            "samples_per_second": summary(rates),
            "share": ratio([rate * flops for rate in rates], square),
            "times_floor": ratio(square, [rate * needs["tree"].flops for rate in rates]),
            "against_trainer": ratio(rivals["trainer"].seconds, rival.seconds),
            "peak_mb": round(rival.peak_mb),
            "ready_s": round(rival.ready_s, 1),
            **rival.found[-1],
        }
    best = summary(limits["ceiling"]["square"])["median"]
    floors = {name: 1e6 * found.flops / best for name, found in needs.items()}
    return {
        "settings": {"batch_size": batch, "steps": steps, "side": side, "parameters": s.n_parameters},
        "rivals": results,
        **{kind: {key: summary(values) for key, values in found.items()} for kind, found in limits.items()},
        "floor_us": {name: five_digits(value) for name, value in floors.items()},
        "bytes": {name: round(found.bytes) for name, found in needs.items()},
    }


def run(options: Options) -> dict[str, Any]:
    """On the CPU."""
    return compare(options, "cpu")
