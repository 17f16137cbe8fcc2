"""Configs by hand: the YAML text, and what the message must name."""

# ruff: noqa: E501
from __future__ import annotations

import os
from pathlib import Path

from checks.faults.sandbox import DONE, REFUSED, Case
from checks.faults.scene import gigabyte

REFUSED_TEXTS: list[tuple[str, str | bytes, str]] = [
    # types
    ("a word for a count", "training: {batch_size: many}", r"training.batch_size: must be a whole number, not \"many\""),
    ("a fraction for a count", "training: {batch_size: 1.5}", "training.batch_size: must be a whole number"),
    ("a quoted number", "training: {batch_size: '64'}", "training.batch_size: must be a whole number"),
    ("a truth for a count", "training: {batch_size: true}", "training.batch_size"),
    ("a list for a count", "training: {batch_size: [64]}", "training.batch_size"),
    ("a group for a number", "training: {learning_rate: {a: 1}}", "training.learning_rate: must be a number"),
    ("null for a count", "training: {batch_size: null}", "training.batch_size"),
    ("a word for a number", "training: {learning_rate: fast}", "training.learning_rate: must be a number"),
    ("a number for a name", "name: 12", "name: must be text"),
    ("a truth for a name", "name: true", "name: must be text"),
    ("a number for a group", "training: 3", "training: must be a group"),
    ("a list for a group", "training: [1]", "training: must be a group"),
    ("null for a group", "training:", "training: must be a group"),
    ("text for a group", "model: big", "model: must be a group"),
    ("a number for a list", "evaluation: {steps: 5}", "evaluation.steps: must be a list"),
    ("a word in a list of numbers", "evaluation: {steps: [0, x]}", "evaluation.steps.1"),
    ("a word for a truth", "evaluation: {probe: maybe}", "evaluation.probe: must be true or false"),
    ("regions as one group", "world: {regions: {count: 3}}", "world.regions: must be a list"),
    ("betas of three", "training: {betas: [0.9, 0.9, 0.9]}", "training.betas"),
    ("betas of one", "training: {betas: [0.9]}", "training.betas"),
    ("betas of words", "training: {betas: [a, b]}", "training.betas"),
    ("a file for a number of cities", "world: {cities: 3}", "world.cities: must be text"),
    # ranges
    ("a batch of none", "training: {batch_size: 0}", "training.batch_size: must be greater than or equal to 1"),
    ("a negative batch", "training: {batch_size: -4}", "training.batch_size"),
    ("a batch of 10**13", "training: {batch_size: 10000000000000}", "training.batch_size"),
    ("a rate of 0", "training: {learning_rate: 0}", "training.learning_rate: must be greater than 0"),
    ("a rate below 0", "training: {learning_rate: -1e-4}", "training.learning_rate"),
    ("a rate without end", "training: {learning_rate: .inf}", "training.learning_rate: must be a finite"),
    ("a rate that is no number", "training: {learning_rate: .nan}", "training.learning_rate"),
    ("a rate that overflows", "training: {learning_rate: 1e999}", "training.learning_rate"),
    ("epochs 0", "training: {epochs: 0}", "training.epochs"),
    ("a beta of 1", "training: {betas: [0.9, 1.0]}", "training.betas.1"),
    ("steps below 0", "evaluation: {steps: [-1]}", "evaluation.steps.0"),
    ("a share above 1", "evaluation: {fractions: [1.1]}", "evaluation.fractions.0"),
    ("an inter share above 1", "dataset: {inter_ratio: 2}", "dataset.inter_ratio"),
    ("an inter share below 0", "dataset: {inter_ratio: -0.1}", "dataset.inter_ratio"),
    ("a latitude of 91", "world: {regions: [{lat: 91}]}", "world.regions.0.lat"),
    ("a longitude of 181", "world: {regions: [{lon: 181}]}", "world.regions.0.lon"),
    ("a spread of 0", "world: {regions: [{spread_km: 0}]}", "world.regions.0.spread_km"),
    ("a spread of 1e300", "world: {regions: [{spread_km: 1e300}]}", "world.regions.0.spread_km"),
    ("a region of no city", "world: {regions: [{count: 0}]}", "world.regions.0.count"),
    ("a region of 10**12 cities", "world: {regions: [{count: 1e12}]}", "world.regions.0.count"),
    ("a seed below 0", "training: {seed: -1}", "training.seed"),
    ("a seed of 2**63", "training: {seed: 9223372036854775808}", "training.seed"),
    ("a seed of 100 digits", "training: {seed: " + "9" * 100 + "}", "training.seed"),
    ("a seed of 101 digits", "training: {seed: " + "9" * 101 + "}", "training.seed"),
    ("a model 10**9 wide", "model: {hidden_size: 1000000000}", "model.hidden_size"),
    ("10**9 layers", "model: {n_layers: 1000000000}", "model.n_layers"),
    ("heads that do not divide", "model: {hidden_size: 100, n_heads: 3}", "hidden_size .100. must be a multiple"),
    ("a head of odd width", "model: {hidden_size: 12, n_heads: 4}", "even width"),
    ("a context of 10**12", "model: {context: 1e12}", "model.context"),
    ("no layer for the probe", "probe: {layers: []}", "probe.layers"),
    ("a probe beyond the model", "probe: {layers: [6]}", "probe.layers asks for block 6"),
    ("nothing left to test", "probe: {n_cities: 10, n_train: 10}", "n_train .10. must be less"),
    # unknown words
    ("an unknown key", "trianing: {batch_size: 4}", "run.yaml:1: trianing: unknown key; did you mean training"),
    ("an unknown inner key", "training:\n  batchsize: 4", "run.yaml:2.*did you mean training.batch_size"),
    ("a key at the wrong place", "batch_size: 4", "did you mean training.batch_size"),
    ("an unknown key like none", "zzzz: 4", "unknown key; known here"),
    ("an unknown key in a region", "world: {regions: [{cuont: 4}]}", "world.regions.0.cuont.*count"),
    ("an unknown kind", "dataset: {kind: corss}", "dataset.kind.*did you mean cross"),
    ("an unknown schedule", "training: {schedule: lineer}", "did you mean linear"),
    ("an unknown device", "training: {device: gpu}", "training.device"),
    ("an unknown tokenizer", "tokenizer: {kind: char}", "tokenizer.kind"),
    ("an unknown tracker", "trackers: [tensorbord]", "trackers.0.*tensorboard"),
    ("an unknown strategy", "strategy: {name: l2spp}", "strategy.*l2sp"),
    ("a strategy without a name", "strategy: {weight: 1}", "strategy"),
    ("a strategy's unknown key", "strategy: {name: l2sp, wieght: 1}", "strategy.*weight"),
    ("a strategy that is a number", "strategy: 3", "strategy"),
    ("an empty key", "'': 1", "unknown key"),
    ("a key of 1,000 letters", f"{'k' * 1000}: 1", "unknown key"),
    ("six mistakes at once", "a: 1\nb: 2\ntraining: {batch_size: 0, epochs: x}\nmodel: {n_heads: 0}\nname: ''\n",
     "6 mistakes:.*run.yaml:1.*run.yaml:2.*run.yaml:3.*run.yaml:4.*run.yaml:5"),
    ("two thousand mistakes", "".join(f"k{i}: 1\n" for i in range(2000)), "2,000 mistakes:.*and 1,980 more"),
    # YAML and its traps
    ("a key twice", "training: {seed: 1}\ntraining: {seed: 2}", "run.yaml:2.*given twice"),
    ("an inner key twice", "training:\n  seed: 1\n  seed: 2", "run.yaml:3.*given twice"),
    ("NO for a truth", "evaluation: {probe: NO}", "evaluation.probe: must be true or false"),
    ("1_000 for a count", "training: {batch_size: 1_000}", "training.batch_size: must be a whole number"),
    ("1:30 for a count", "training: {batch_size: 1:30}", "training.batch_size"),
    ("a date for a count", "training: {seed: 2026-01-01}", "training.seed"),
    ("0b11 for a count", "training: {batch_size: 0b11}", "training.batch_size"),
    ("an anchor and an alias", "a: &x {b: 1}\nc: *x", "run.yaml:1.*aliases"),
    ("a merge key", "a: &x {b: 1}\ntraining:\n  <<: *x", "aliases"),
    ("a billion laughs", "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(8)), "aliases"),
    ("an alias of nothing", "a: *x", "aliases"),
    ("!!python/object/apply", "a: !!python/object/apply:os.system ['touch canary']", "run.yaml:1.*the tag"),
    ("!!python/name", "a: !!python/name:os.system", "the tag"),
    ("!!python/module", "a: !!python/module:antigravity", "the tag"),
    ("!!binary", "a: !!binary aGVsbG8=", "the tag"),
    ("!!set", "a: !!set {x}", "the tag"),
    ("!include", "a: !include /etc/passwd", "the tag"),
    ("a tag of one's own", "%TAG ! tag:x,2000:\n---\na: !y 1", "tag"),
    ("two documents", "name: a\n---\nname: b", "run.yaml:2"),
    ("a tab for indentation", "training:\n\tseed: 1", "run.yaml:2"),
    ("wrong indentation", "training:\n  seed: 1\n epochs: 2", "run.yaml:3"),
    ("a bracket that is not closed", "training: {seed: 1", "run.yaml"),
    ("a quote that is not closed", "name: 'a", "run.yaml"),
    ("a list as a key", "? [a, b]\n: 1", "a key must be a word"),
    ("10,000 brackets", "[" * 10_000, "nested too deeply"),
    ("10,000 groups", "{a: " * 10_000, "nested too deeply"),
    ("10,000 dashes", "- " * 10_000, "nested too deeply|must hold"),
    ("a list at the top", "- 1", "must hold"),
    ("one word", "hello", "must hold"),
    ("nothing", "", "is empty"),
    ("a comment alone", "# a\n", "is empty"),
    ("null alone", "~", "is empty"),
    ("a zero byte", b"name: a\0b\n", "not valid YAML"),
    ("an escape character", b"name: a\x1bb\n", "not valid YAML"),
    ("Latin-1", "name: Zürich".encode("latin-1"), "run.yaml:1: is not UTF-8"),
    ("UTF-16", "name: a".encode("utf-16"), "UTF-8"),
    ("gzip", b"\x1f\x8b\x08" + b"\0" * 30, "UTF-8"),
    ("200 kB of nothing", b"#" * 200_001, "larger than 200,000"),
    # files named in it
    ("extends nothing there", "extends: nowhere.yaml", "run.yaml:1: extends: there is no file"),
    ("extends itself", "extends: run.yaml", "extends itself"),
    ("extends a list", "extends: [a]", "extends: must be the name"),
    ("extends a folder", "extends: outputs", "extends"),
    ("extends a device", "extends: /dev/zero", "extends"),
    ("extends a zero byte", 'extends: "a\\0b"', "extends"),
    ("extends 300 characters", f"extends: {'x' * 300}", "extends|too long"),
    # names that become paths
    ("a name of dots", "name: ..", "name: use up to 120 letters"),
    ("a name that climbs", "name: ../../outside/kept", "name: use up to 120"),
    ("an absolute name", "name: /tmp/x", "name: use up to 120"),
    ("a hidden name", "name: .ssh", "name: use up to 120"),
    ("an option as a name", "name: --help", "name: use up to 120"),
    ("a name with a zero byte", 'name: "a\\0b"', "name: use up to 120"),
    ("a name of two lines", 'name: "a\\nb"', "name: use up to 120"),
    ("a name with a line end after it", 'name: "a\\n"', "name: use up to 120"),
    ("a name of 300 characters", f"name: {'x' * 300}", "name: use up to 120"),
    ("a name that turns text around", 'name: "a\\u202Etxt"', "name: use up to 120"),
    ("a name for a shell", "name: a;touch canary", "name: use up to 120"),
    ("a name for a subshell", "name: $(touch canary)", "name: use up to 120"),
    ("an empty name", "name: ''", "name: use up to 120"),
    ("a dataset's name that climbs", "dataset: {name: ../../outside/kept}", "dataset.name: use up to 120"),
    ("a dataset's absolute name", "dataset: {name: /tmp/x}", "dataset.name: use up to 120"),
    ("a region's name of two lines", 'world: {regions: [{name: "a\\nb"}]}', "world.regions.0.name: must be plain text"),
    ("a region's name that turns text", 'world: {regions: [{name: "\\u202Ea"}]}', "world.regions.0.name"),
    ("a region's name for a terminal", 'world: {regions: [{name: "\\e[2J"}]}', "world.regions.0.name"),
    ("a region's name of 300 characters", f"world: {{regions: [{{name: {'x' * 300}}}]}}", "world.regions.0.name"),
    ("an empty region's name", "world: {regions: [{name: ''}]}", "world.regions.0.name"),
    ("two regions of one name", "world: {regions: [{}, {code: XX1}]}", "two regions have the name"),
    ("two regions of one code", "world: {regions: [{}, {name: B}]}", "two regions have the code"),
    ("20,000 regions", "world: {regions: [" + ",".join(["{}"] * 20_000) + "]}", "world.regions"),
]  # fmt: skip

FINE: list[tuple[str, str, str]] = [
    ("1e-4", "training: {learning_rate: 1e-4}", "learning_rate: 0.0001"),
    ("1E-4", "training: {learning_rate: 1E-4}", "learning_rate: 0.0001"),
    (".5", "training: {epochs: .5}", "epochs: 0.5"),
    ("012 is twelve", "training: {batch_size: 012}", "batch_size: 12\n"),
    ("0o12 is ten", "training: {batch_size: 0o12}", "batch_size: 10\n"),
    ("0x10 is sixteen", "training: {batch_size: 0x10}", "batch_size: 16\n"),
    ("1e6 is whole", "dataset: {n_train: 1e6}", "n_train: 1000000"),
    ("NO is text", "name: NO", "name: '?NO"),
    ("off is text", "description: off", "description: '?off"),
    ("yes is text", "training: {compile: yes}", "compile: '?yes"),
    ("a date is text", "description: 2026-01-01", "description: '?2026-01-01"),
    ("12:30 is text", "description: 12:30:00", "12:30:00"),
    ("a quoted number is text", "description: '012'", "description: '012'"),
    ("TRUE is true", "evaluation: {probe: TRUE}", "probe: true"),
    ("~ is nothing", "training: {max_steps: ~}", "max_steps: null"),
    ("JSON is YAML", '{"training": {"seed": 7}}', "seed: 7"),
    ("a byte-order mark", "\ufefftraining: {seed: 7}", "seed: 7"),
    ("Windows line ends", "training:\r\n  seed: 7\r\n", "seed: 7"),
    ("an escape in a description", 'description: "\\e[31mred\\u202Ex"', r"\\e\[31m|\\x1b\[31m"),
    ("markup in a description", "description: '[bold]x[/bold]'", r"\[bold\]x\[/bold\]"),
]  # fmt: skip

OVERRIDES: list[tuple[str, list[str], str]] = [
    ("no equals sign", ["training.seed"], "write key=value"),
    ("no key", ["=3"], "write key=value"),
    ("an empty part", ["training..seed=3"], "write key=value"),
    ("a key of 50,000 parts", [".".join(["a"] * 50_000) + "=1"], "write key=value"),
    ("an unknown key", ["training.sede=3"], "did you mean training.seed"),
    ("below a number", ["training.seed.x=3"], "training.seed"),
    ("an item that is not there", ["world.regions.7.count=3"], "has items 0 to 0"),
    ("an item that is a word", ["world.regions.first.count=3"], "has items"),
    ("a wrong type", ["training.batch_size=x"], "training.batch_size=x: must be a whole number"),
    ("several at once", ["training.batch_size=x", "model.n_heads=0"], "2 mistakes"),
    ("YAML that is broken", ["training.betas=[0.9"], "not valid YAML"),
    ("a tag", ["name=!!python/name:os.system"], "the tag"),
    ("an alias", ["name=*x"], "aliases"),
    ("deep brackets", ["training.betas=" + "[" * 5000], "nested too deeply"),
    ("a name that climbs", ["name=../x"], "name=../x: use up to 120"),
    ("a name for a terminal", ["name=\x1b[31mx"], "not valid YAML"),
    ("a dataset's name that climbs", ["dataset.name=../x"], "use up to 120"),
    ("extends", ["extends=x.yaml"], "extends"),
]


def cases() -> list[Case]:
    found = [_written(f"config: {name}", text, REFUSED, says) for name, text, says in REFUSED_TEXTS]
    found += [_written(f"config: {name}", text, DONE, says) for name, text, says in FINE]
    for name, overrides, says in OVERRIDES:
        found.append(Case(f"override: {name}", lambda scene, o=overrides: ["train", "tiny.yaml", *o], REFUSED, says))
    return found + [Case(f"config: {name}", prepare, REFUSED, says) for name, (prepare, says) in SPECIAL.items()]


def _written(name: str, text: str | bytes, expect: str, says: str) -> Case:
    def prepare(scene: Path) -> list[str]:
        (scene / "work" / "run.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
        return ["show", "run.yaml"] if expect == DONE else ["train", "run.yaml"]

    return Case(name, prepare, expect, says)


def _large(scene: Path) -> list[str]:
    with open(scene / "work" / "run.yaml", "wb") as file:
        file.truncate(1 << 25)
    return ["train", "run.yaml"]


def _gigabyte(scene: Path) -> list[str]:
    gigabyte(scene, "run.yaml")
    return ["train", "run.yaml"]


def _fifo(scene: Path) -> list[str]:
    os.mkfifo(scene / "work" / "run.yaml")
    return ["train", "run.yaml"]


SPECIAL = {
    "not there": (lambda scene: ["train", "tyni.yaml"], "no such config file"),
    "a folder": (lambda scene: ["train", "outputs"], "is a folder"),
    "a device": (lambda scene: ["train", "/dev/zero"], "no such config|device"),
    "a pipe": (_fifo, "no such config|pipe"),
    "a large file": (_large, "larger than 200,000"),
    "a file of a gigabyte": (_gigabyte, "larger than 200,000"),
    "a path of 300 characters": (lambda scene: ["train", "x" * 300], "x"),
    "a path with a zero byte": (lambda scene: ["train", "a\0b"], "no such config|null"),
    "a name for a terminal": (lambda scene: ["train", "\x1b]0;owned\a"], "no such config"),
}
