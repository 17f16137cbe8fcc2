"""The peer's side: avalanche's own plugins and training loop, given our model and our rows.

Its first experience is the old rows. It is "trained" for no epochs, which leaves the base as it is and lets each plugin
gather what it keeps: buffer, Fisher information, a copy of the model. The second experience is the new rows.

Avalanche's losses take one target per sample. EWC, replay and A-GEM ask the criterion alone, so they get whole rows and
the mean over all targets of a batch. LwF and DER++ have losses of their own, and get a sample for every target.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from atlantis.model import Transformer
from checks.agreement.papers import PAD, Rows, Weights

OPERATORS = ("nms", "qnms")


def declare_operators() -> None:
    """Let torchvision, which avalanche imports, be imported where its compiled part does not fit PyTorch's build.

    PyPI has torchvision for CUDA alone. Beside a PyTorch for CPUs it stops at the fake forms of two operators on
    boxes that then do not exist. None of the methods here has to do with images, so it is enough that they have names.
    """
    try:
        import torchvision  # type: ignore[import-not-found]  # noqa: F401
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in OPERATORS:
            torch.library.define(f"torchvision::{name}", "(Tensor boxes, Tensor scores, float threshold) -> Tensor")


declare_operators()
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from avalanche.benchmarks import benchmark_from_datasets  # type: ignore[import-not-found]
    from avalanche.benchmarks.utils import (  # type: ignore[import-not-found]
        AvalancheDataset,
        as_taskaware_classification_dataset,
        make_avalanche_dataset,
    )
    from avalanche.benchmarks.utils.data_attribute import DataAttribute  # type: ignore[import-not-found]
    from avalanche.training.plugins import (  # type: ignore[import-not-found]
        AGEMPlugin,
        EvaluationPlugin,
        EWCPlugin,
        LwFPlugin,
        ReplayPlugin,
        SupervisedPlugin,
    )
    from avalanche.training.supervised import DER, Naive  # type: ignore[import-not-found]

__all__ = ["AGEMPlugin", "EWCPlugin", "LwFPlugin", "ReplayPlugin"]


class RowModel(nn.Module):
    """Our model for samples that are a row's tokens (L) and the columns (C) that predict; logits (N, C, O)."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, samples: Tensor) -> Tensor:
        tokens, at = samples[:, : self.model.context], samples[:, self.model.context :]
        logits = self.model(tokens)
        logits = logits.gather(1, at[..., None].expand(-1, -1, logits.shape[-1]))
        return logits[:, 0] if at.shape[1] == 1 else logits


def by_target(rows: Rows) -> Rows:
    """A row for every target, with one target each."""
    row, column = (rows.targets != PAD).nonzero(as_tuple=True)
    return Rows(rows.tokens[row], rows.at[row, column][:, None], rows.targets[row, column][:, None])


def dataset(rows: Rows) -> AvalancheDataset:
    """Rows as avalanche's; with one target each they are classes to it."""
    targets = rows.targets[:, 0] if rows.targets.shape[1] == 1 else rows.targets
    pairs = torch.utils.data.TensorDataset(torch.cat([rows.tokens, rows.at], dim=1), targets)
    attributes = [DataAttribute([0] * len(targets), "targets_task_labels", use_in_getitem=True)]
    if targets.ndim > 1:
        return make_avalanche_dataset(pairs, data_attributes=attributes)
    attributes.append(DataAttribute(targets.tolist(), "targets"))
    return as_taskaware_classification_dataset(make_avalanche_dataset(pairs, data_attributes=attributes))


def mean_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """The mean cross-entropy over all targets."""
    return F.cross_entropy(logits.flatten(0, -2), targets.flatten(), ignore_index=PAD)


def summed_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """-log p of all answers together."""
    return F.cross_entropy(logits.flatten(0, -2), targets.flatten(), ignore_index=PAD, reduction="sum")


class Watch(SupervisedPlugin):
    """Keeps what the optimizer is given at the first step, and how many rows of each step are among some."""

    def __init__(self, among: Rows | None = None) -> None:
        super().__init__()
        self.gradient: Weights = {}
        self.among = set() if among is None else {tuple(row) for row in among.tokens.tolist()}
        self.counts: list[tuple[int, int]] = []

    def before_update(self, strategy: Any, **kwargs: Any) -> None:
        if not self.gradient:
            named = strategy.model.model.named_parameters()
            self.gradient = {name: p.grad.double().clone() for name, p in named if p.grad is not None}
        if self.among:
            tokens = strategy.mb_x[:, : strategy.model.model.context].tolist()
            self.counts.append((sum(tuple(row) in self.among for row in tokens), len(tokens)))


class Peer:
    """A strategy of avalanche that has seen the old rows in the base, as its loop would show them."""

    def __init__(
        self,
        base: Transformer,
        old: Rows,
        plugins: Sequence[Any] = (),
        *,
        old_batch: int | None = None,
        old_loss: Any = mean_loss,
        template: Any = Naive,
        among: Rows | None = None,
        **settings: Any,
    ) -> None:
        self.watch = Watch(among)
        self.model = RowModel(copy.deepcopy(base))
        self.strategy = template(
            model=self.model,
            optimizer=torch.optim.SGD(self.model.parameters(), lr=0.0),
            train_mb_size=old_batch or len(old.tokens),
            train_epochs=0,
            plugins=[*plugins, self.watch],
            evaluator=EvaluationPlugin(loggers=[]),
            **({"criterion": old_loss} | settings),
        )
        self._see(old, 0)

    def _see(self, rows: Rows, experience: int, **options: Any) -> None:
        """Train on rows as experience number `experience`."""
        data = dataset(rows)
        stream = benchmark_from_datasets(train=[data] * (experience + 1)).train_stream
        with warnings.catch_warnings(record=True):  # it calls deprecated functions of its own
            self.strategy.train(stream[experience], num_workers=0, **options)

    def train(self, rows: Rows, batch_size: int, epochs: int = 1, optimizer: Any = None, shuffle: bool = True) -> None:
        """Go on with new rows; without an optimizer the weights stay as they are."""
        self.strategy.train_mb_size, self.strategy.train_epochs = batch_size, epochs
        self.strategy._criterion = mean_loss
        if optimizer is not None:
            self.strategy.optimizer = optimizer
            self.strategy.optimized_param_id = None
        self._see(rows, 1, shuffle=shuffle)

    def gradient(self, moved: Transformer, rows: Rows) -> Weights:
        """What the optimizer is given at one step on all of `rows`, with the weights of `moved`."""
        self.model.model.load_state_dict(moved.state_dict())
        self.train(rows, len(rows.tokens))
        return self.watch.gradient


def importances(plugin: EWCPlugin) -> Weights:
    """The Fisher information that EWCPlugin has gathered, by weight."""
    return {name.removeprefix("model."): value.data.double() for name, value in plugin.importances[0].items()}


def darker(old: Rows, alpha: float, beta: float) -> dict[str, Any]:
    """What `Peer` needs for DER++ with all of the old rows in every batch, one sample for each target."""
    n = len(old.tokens)
    # The buffer is shared out among the classes seen: large enough for any of them to be all.
    return {"template": DER, "mem_size": 64 * n, "batch_size_mem": n, "alpha": alpha, "beta": beta}
