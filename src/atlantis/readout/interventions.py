"""Does a model use its map? States of one city are changed, and the answer is read (interventions, not probes).

A question asks for the distance from city A to city C. Behind a block, the states at A's tokens are changed as if
another city B had been named. If what was changed is what the model computes its answer from, the answer moves from
d(A, C) to d(B, C). The changes, each of the states at some of the city's tokens (`TOKENS`):

    interchange   B's states in place of A's (Geiger et al., 2021; Vig et al., 2020)
    probe         the least change with which a linear probe reads B's place: along the probe's directions
    encoding      what states of cities at B's place have more than those at A's, on average: a linear regression of the
                  states on the place, which is to a probe as a pattern is to a filter (Haufe et al., 2014)
    beside        the interchange without its part along the probe's directions: the probe reads A's place as before
    random        a random direction, as long as the encoding's change
    random_probe  a random direction, as long as the probe's change

The tokens are the `last` of the city's name, those of the name `before` it, those `behind` the name up to the next
city or the answer, and `all` of these. The study's probe reads those behind the first city.

Probe and encoding are fitted on questions about real cities that no changed or compared question names. A place is a
unit vector. All questions have ids of the same length, so that tokens correspond.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from atlantis.data.draw import Order
from atlantis.data.encoding import encode, prefix, read_answers
from atlantis.errors import UserError
from atlantis.model import Transformer
from atlantis.readout.generate import answers
from atlantis.readout.ridge import fit_ridge
from atlantis.readout.stitching import Stitched, decode
from atlantis.scales import SHARE
from atlantis.sphere import unit_vectors
from atlantis.statistics import Interval, mean_over_cities, slope_interval
from atlantis.tasks import Questions, Task
from atlantis.tasks.checking import errors_of
from atlantis.vocabulary import Vocabulary
from atlantis.world import World

Change = Literal["interchange", "probe", "encoding", "beside", "random", "random_probe"]
CHANGES: tuple[Change, ...] = ("interchange", "probe", "encoding", "beside", "random", "random_probe")
SEATS = ("first", "second")
GROUPS = {
    "real": ("real", "real", "real"),
    "virtual": ("virtual", "virtual", "real"),
    "outwards": ("virtual", "real", "real"),
}
"""Kinds of questions: what A, B and C are."""
TOKENS = ("all", "before", "last", "behind")
FEWEST_FIT, MOST_FIT = 200, 2_000
"""Cities that the directions are fitted on."""
CHUNK = 256
"""Rows whose states are computed at a time."""
LEAST_READABLE = 0.5
"""Of the answers; with fewer there are no slopes."""
TINY = 1e-12
NO_INTERVAL = Interval(float("nan"), float("nan"), 0, "not a mean")


class Triples(NamedTuple):
    """The group, and the cities A, B and C, of n questions: names and ids (n,)."""

    group: np.ndarray
    a: Int[np.ndarray, " n"]
    b: Int[np.ndarray, " n"]
    c: Int[np.ndarray, " n"]


@dataclass(frozen=True)
class Prompts:
    """Prompts of equal length about n pairs of cities, tokens (n, T), and where each seat's tokens are in them."""

    tokens: Int[Tensor, "n T"]
    n_name: int
    """Tokens of a city's own name."""
    seats: tuple[slice, slice]

    def token_sets(self, seat: slice) -> dict[str, slice]:
        """The tokens of each of `TOKENS`, counted from the seat's first; without sets that have none."""
        size, n = seat.stop - seat.start, self.n_name
        sets = dict(zip(TOKENS, (slice(0, size), slice(0, n - 1), slice(n - 1, n), slice(n, size)), strict=True))
        return {name: tokens for name, tokens in sets.items() if tokens.start < tokens.stop}


# --- which cities


def ids_alike(world: World, vocabulary: Vocabulary, id_digits: int = 1) -> Int[np.ndarray, " m"]:
    """The cities whose names have equally many tokens: those with the most frequent number."""
    ids = np.arange(len(world))
    if vocabulary.kind != "characters":
        return ids
    lengths = np.maximum(np.char.str_len(ids.astype(str)), id_digits)
    return ids[lengths == np.bincount(lengths).argmax()]


def draw_triples(
    world: World,
    vocabulary: Vocabulary,
    groups: Sequence[str],
    n: int,
    rng: np.random.Generator,
    id_digits: int = 1,
) -> tuple[Triples, Int[np.ndarray, " m"]]:
    """n triples of each group, one group after the other, and up to 2,000 real cities that none of them names.

    No real city is named twice. Raises UserError if there are too few cities.
    """
    alike = ids_alike(world, vocabulary, id_digits)
    real, virtual = (rng.permutation(alike[world.is_virtual[alike] == flag]) for flag in (False, True))
    n_named = n * sum(GROUPS[group].count("real") for group in groups)
    if len(real) < n_named + FEWEST_FIT or (list(groups) != ["real"] and len(virtual) < 2):
        raise UserError(
            f"intervene: {n} questions of each group need {n_named} real cities, {FEWEST_FIT} more to fit on, and two "
            f"virtual ones, whose ids are equally long; there are {len(real)} and {len(virtual)} (--items)"
        )
    named, free = np.split(real, [n_named])
    rows = []
    for group in groups:
        start = rng.integers(len(virtual), size=n) if "virtual" in GROUPS[group] else None
        triple = []
        for kind in GROUPS[group]:
            if kind == "real":
                ids, named = np.split(named, [n])
            else:  # B is another one than A
                assert start is not None
                step = rng.integers(1, len(virtual), size=n) if triple else 0
                ids = virtual[(start + step) % len(virtual)]
            triple.append(ids)
        rows.append(triple)
    a, b, c = (np.concatenate([triple[i] for triple in rows]) for i in range(3))
    return Triples(np.repeat(groups, n), a, b, c), free[:MOST_FIT]


def prompts_of(task: Task, vocabulary: Vocabulary, cities: Int[np.ndarray, "n 2"]) -> Prompts:
    """The prompts of pairs of cities whose ids are equally long."""
    start = prefix(task.form, vocabulary)
    encoded = encode(task.form, vocabulary, cities, np.zeros(len(cities), np.int32))
    length = int(encoded.prompt_length[0])
    assert (encoded.prompt_length == length).all(), "the ids are not equally long"
    tokens = np.concatenate([np.tile(start, (len(cities), 1)), encoded.tokens[:, :length]], axis=1)
    name = max(len(str(cities[0, 0])), task.form.id_digits) if vocabulary.kind == "characters" else 1
    second = tokens.shape[1] - name - len(task.form.close)
    seats = (slice(len(start), second), slice(second, tokens.shape[1]))
    return Prompts(torch.as_tensor(tokens).long(), name, seats)


# --- what is changed


@dataclass(frozen=True)
class Directions:
    """Linear maps between states (n, F) and places (n, 3), unit vectors."""

    probe: Float[np.ndarray, "F 3"]
    intercept: Float[np.ndarray, " 3"]
    encoding: Float[np.ndarray, "3 F"]

    @classmethod
    def fit(cls, states: Float[np.ndarray, "n F"], places: Float[np.ndarray, "n 3"]) -> Directions:
        ridge = fit_ridge(states, places)
        centred = places - places.mean(0)
        encoding = np.linalg.lstsq(centred, states - states.mean(0))[0]
        return cls(ridge.coefficients, ridge.intercept, encoding)

    def read(self, states: Float[np.ndarray, "n F"]) -> Float[np.ndarray, "n 3"]:
        return states @ self.probe + self.intercept


def changes(
    of_a: Float[np.ndarray, "n F"],
    of_b: Float[np.ndarray, "n F"],
    place_a: Float[np.ndarray, "n 3"],
    place_b: Float[np.ndarray, "n 3"],
    directions: Directions,
    rng: np.random.Generator,
) -> dict[Change, Float[np.ndarray, "n F"]]:
    """What each kind of change adds to A's states, given A's and B's states and places."""
    back = np.linalg.pinv(directions.probe)  # (3, F)
    interchange = of_b - of_a
    probe = (place_b - directions.read(of_a)) @ back
    encoding = (place_b - place_a) @ directions.encoding
    random = rng.normal(size=of_a.shape)
    random /= np.linalg.norm(random, axis=1, keepdims=True)
    return {
        "interchange": interchange,
        "probe": probe,
        "encoding": encoding,
        "beside": interchange - interchange @ directions.probe @ back,
        "random": random * np.linalg.norm(encoding, axis=1, keepdims=True),
        "random_probe": random * np.linalg.norm(probe, axis=1, keepdims=True),
    }


@torch.no_grad()
def changed_answers(
    model: Transformer, task: Task, prompts: Prompts, cut: int, tokens: slice, added: Float[np.ndarray, "k n S D"]
) -> Int[np.ndarray, "k n"]:
    """Greedy answers, int64 (k, n), for each of k things added to the states of S tokens of the prompts.

    The states are those behind block `cut`; -1 is the embedding for a cut, and an answer that cannot be read.
    """
    k, n, size, width = added.shape
    whole = torch.zeros(k, n, prompts.tokens.shape[1] - tokens.start, width)
    whole[:, :, :size] = torch.as_tensor(added).float()
    answer = decode(Stitched(model, model, cut), prompts.tokens, task.form.answer_length, whole)
    return read_answers(task.form, answer.numpy()).reshape(k, n)


# --- what the answers do


def effects(
    task: Task,
    answer: Int[np.ndarray, " n"],
    own: tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]],
    true: tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]],
) -> dict[str, tuple[float, Interval]]:
    """How far changed answers (n,) go from the question about A to that about B: metric -> value and interval.

    slope: of what the answer moves by on true(B) - true(A), through the origin; 1 is the whole way, 0 none. own_slope:
    on what the model itself answers about B and A, unchanged. nearer: share of answers with a smaller error about B.
    readable: share. Answers that cannot be read are left out of all but the last, and where they are most there is
    no number. For the slopes, an answer counts as the task's penalty or the largest true one at most.
    """
    most = max(int(task.penalty), *(int(values.max()) for values in true))
    y, own_a, own_b = (np.minimum(values, most).astype(np.float64) for values in (answer, *own))
    true_a, true_b = (values.astype(np.float64) for values in true)
    readable = (y >= 0) & (own_a >= 0) & (own_b >= 0)
    used = readable if readable.mean() >= LEAST_READABLE else np.zeros_like(readable)
    y, own_a, own_b, true_a, true_b = (values[used] for values in (y, own_a, own_b, true_a, true_b))
    to_a, to_b = (errors_of(task, answer[used], values[used]) for values in true)
    return {
        "slope": slope_interval(true_b - true_a, y - own_a),
        "own_slope": slope_interval(own_b - own_a, y - own_a),
        "nearer": _share(to_b < to_a),
        "readable": _share(readable),
    }


def _share(flags: np.ndarray) -> tuple[float, Interval]:
    return float(flags.mean()) if len(flags) else float("nan"), mean_over_cities(flags, SHARE)


def intervention_table(
    model: Transformer,
    vocabulary: Vocabulary,
    world: World,
    task: Task,
    groups: Sequence[str],
    n: int,
    seed: int = 0,
    cuts: Sequence[int] | None = None,
    order: Order = "fair",
) -> pd.DataFrame:
    """All changes behind each block, at each seat, for n questions of each of some `GROUPS`.

    A row per seat, cut, tokens (`TOKENS`), change, group and metric, with columns value, low, high, n. Metrics: those
    of `effects`; length, the mean size of the change over that of all groups' interchanges; and reading, how far the
    probe's reading goes from A's place to B's. `order` is that of the model's training: where the smaller id of two
    real cities came first, it comes first here. Raises UserError for a task that does not ask for a number about two
    cities, and if there are too few cities.
    """
    if task.form.seats != 2 or task.form.least_cities != 2 or task.form.words:
        raise UserError(f"intervene: the task {task.name} does not ask for a number about two cities")
    rng = np.random.Generator(np.random.PCG64(seed))
    triples, free = draw_triples(world, vocabulary, groups, n, rng, task.form.id_digits)
    table = []
    for index, seat in enumerate(SEATS):
        cities, others = (triples.a, triples.b, free), (triples.c, triples.c, np.roll(free, 1))
        if order == "smaller_first":
            cities, others = in_order(triples, free, index)
        scene = Scene.of(model, vocabulary, world, task, triples.group, cities, others, index)
        for cut in range(-1, len(model.blocks) - 1) if cuts is None else cuts:
            table.append(scene.at(cut, rng).assign(seat=seat, cut=cut))
    return pd.concat(table, ignore_index=True)


Three = tuple[np.ndarray, np.ndarray, np.ndarray]


def in_order(triples: Triples, free: np.ndarray, index: int) -> tuple[Three, Three]:
    """The same cities, so that of real ones the smaller id comes first: C has the largest, or in turn the smallest."""
    three = np.stack(triples[1:])
    real = triples.group == "real"
    three[:, real] = np.sort(three[:, real], axis=0)[[0, 1, 2] if index == 0 else [1, 2, 0]]
    outwards = triples.group == "outwards"  # A is virtual, and a question about it has a coin's order
    three[1:, outwards] = np.sort(three[1:, outwards], axis=0)[[0, 1] if index == 0 else [1, 0]]
    pair = np.sort(np.stack([free, np.roll(free, 1)]), axis=0)
    return (three[0], three[1], pair[index]), (three[2], three[2], pair[1 - index])


@dataclass(frozen=True)
class Scene:
    """Questions about A and about B in one seat, the model's states for both, and states to fit directions on."""

    model: Transformer
    task: Task
    group: np.ndarray
    prompts: Prompts
    seat: slice
    states: tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]
    """Of A, of B and to fit on: behind the embedding and each block but the last (n, S, D)."""
    places: tuple[np.ndarray, np.ndarray, np.ndarray]
    own: tuple[np.ndarray, np.ndarray]
    """The model's answers about A and about B, unchanged."""
    true: tuple[np.ndarray, np.ndarray]
    """The right ones."""

    @classmethod
    def of(
        cls,
        model: Transformer,
        vocabulary: Vocabulary,
        world: World,
        task: Task,
        group: np.ndarray,
        cities: Three,
        others: Three,
        index: int,
    ) -> Scene:
        """`cities` are A, B and those to fit on, in the seat `index`; `others` are in the other seat."""
        pairs = [np.stack(pair if index == 0 else pair[::-1], axis=1) for pair in zip(cities, others, strict=True)]
        prompts = [prompts_of(task, vocabulary, pair) for pair in pairs]
        seat = prompts[0].seats[index]
        about_a, about_b = (Questions.ask(task, world, pair) for pair in pairs[:2])
        states_a, states_b, states_fit = (_states(model, each.tokens, seat) for each in prompts)
        place_a, place_b, place_fit = (unit_vectors(world.lon[ids], world.lat[ids]) for ids in cities)
        return cls(
            model,
            task,
            group,
            prompts[0],
            seat,
            states=(states_a, states_b, states_fit),
            places=(place_a, place_b, place_fit),
            own=(answers(model, vocabulary, about_a), answers(model, vocabulary, about_b)),
            true=(about_a.answer, about_b.answer),
        )

    def at(self, cut: int, rng: np.random.Generator) -> pd.DataFrame:
        """The rows of `intervention_table` for one seat and cut."""
        sets = self.prompts.token_sets(self.seat)
        table = [row for name, tokens in sets.items() for row in self._of_tokens(cut, name, tokens, rng)]
        return pd.DataFrame(table)

    def _of_tokens(self, cut: int, name: str, tokens: slice, rng: np.random.Generator) -> Iterator[dict[str, object]]:
        """The rows of one set of tokens, which are counted from the seat's first."""
        parts = [states[cut + 1][:, tokens] for states in self.states]
        of_a, of_b, of_fit = (states.reshape(len(states), -1) for states in parts)
        directions = Directions.fit(of_fit, self.places[2])
        by_change = changes(of_a, of_b, self.places[0], self.places[1], directions, rng)
        if name == "before":  # there is hardly a map in them, and each change takes its time
            by_change = {"interchange": by_change["interchange"]}
        whole = max(float(np.linalg.norm(by_change["interchange"], axis=1).mean()), TINY)
        added = np.stack([delta.reshape(parts[0].shape) for delta in by_change.values()])
        start = self.seat.start
        here = slice(start + tokens.start, start + tokens.stop)
        answer = changed_answers(self.model, self.task, self.prompts, cut, here, added)
        displacement = self.places[1] - self.places[0]
        for (change, delta), given in zip(by_change.items(), answer, strict=True):
            moved = delta @ directions.probe
            for group in np.unique(self.group):
                rows = self.group == group
                own, true = ((pair[0][rows], pair[1][rows]) for pair in (self.own, self.true))
                values = effects(self.task, given[rows], own, true) | {
                    "length": (float(np.linalg.norm(delta[rows], axis=1).mean() / whole), NO_INTERVAL),
                    "reading": slope_interval(displacement[rows], moved[rows]),
                }
                yield from _rows({"tokens": name, "change": change, "group": group}, values)


@torch.no_grad()
def _states(model: Transformer, tokens: Int[Tensor, "n T"], seat: slice) -> list[Float[np.ndarray, "n S D"]]:
    """Behind the embedding and each block but the last."""
    layers = range(-1, len(model.blocks) - 1)
    parts = [[x[:, seat] for x in model.hidden_states(part, layers)] for part in tokens.split(CHUNK)]
    return [torch.cat(of_layer).double().numpy() for of_layer in zip(*parts, strict=True)]


def _rows(labels: dict[str, str], values: dict[str, tuple[float, Interval]]) -> list[dict[str, object]]:
    return [
        {**labels, "metric": metric, "value": value, "low": interval.low, "high": interval.high, "n": interval.n}
        for metric, (value, interval) in values.items()
    ]
