"""Hostile files: pickles, configs, weights, tokenizers and names in every place where somebody else's could stand."""

# ruff: noqa: E501
from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from checks.faults.sandbox import DONE, EITHER, PARTLY, REFUSED, Case
from checks.faults.scene import RUN, checkpoint_of, dataset_of, resealed, state_of, world_of

TINY = "outputs/experiments/tiny"
RUN_WRITES = (RUN.as_posix(),)
NOTED = (f"{RUN.as_posix()}/run.json",)
Prepare = Callable[[Path], list[str]]


class Bomb:
    """Unpickled, it touches the canary."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch ../canary ../../canary canary",)


def bomb(kind: str) -> bytes:
    """A pickle, as it comes in a plain file, in PyTorch's zip file, and in a NumPy file of objects."""
    plain = pickle.dumps(Bomb())
    if kind == "pickle":
        return plain
    if kind == "npy":
        header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117) + b"\n"
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + plain
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("archive/data.pkl", plain)
        archive.writestr("archive/version", "3\n")
    return packed.getvalue()


def evaluate(scene: Path) -> list[str]:
    return ["evaluate", TINY, str(dataset_of(scene))]


def analysis_of(scene: Path) -> Path:
    return scene / RUN / "analysis" / "degrees"


def forged(folder: Callable[[Path], Path], name: str, content: bytes, command: Callable[[Path], list[str]]) -> Prepare:
    """A file of an artifact replaced, or one more beside the others, and the manifest to go with it."""

    def prepare(scene: Path) -> list[str]:
        (folder(scene) / name).write_bytes(content)
        resealed(folder(scene))
        return command(scene)

    return prepare


def edited(folder: Callable[[Path], Path], name: str, change: dict[str, Any], command: Any) -> Prepare:
    """Keys of a JSON file changed."""

    def prepare(scene: Path) -> list[str]:
        found = json.loads((folder(scene) / name).read_text())
        (folder(scene) / name).write_text(json.dumps(found | change))
        resealed(folder(scene))
        return command(scene)

    return prepare


def probe(scene: Path) -> list[str]:
    return ["probe", TINY]


def show_run(scene: Path) -> list[str]:
    return ["show", TINY]


def show_checkpoint(scene: Path) -> list[str]:
    return ["show", f"{TINY}/checkpoints/final"]


def show_dataset(scene: Path) -> list[str]:
    return ["show", str(dataset_of(scene))]


def show_world(scene: Path) -> list[str]:
    return ["show", str(world_of(scene))]


def from_base(scene: Path) -> list[str]:
    return [
        "train",
        "tiny.yaml",
        "name=other",
        f"base={TINY}/checkpoints/final",
        "training.max_steps=1",
        "evaluation.probe=false",
    ]


def resume(scene: Path) -> list[str]:
    """Go on with a run that was not finished."""
    return edited_run("run.json", {"status": "running"}, lambda scene: ["train", "tiny.yaml", "--resume"])(scene)


def resume_state(scene: Path) -> list[str]:
    """The same without its report, which reads no state and takes longest."""
    return [*resume(scene), "--no-report"]


# --- pickles


def pickles() -> list[Case]:
    found = []
    beside = ("pytorch_model.bin", "training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", "model.pkl",
              "adapter_model.bin", "data.npy", "__init__.py", "modeling.py", "pytorch_model.bin.index.json",
              "tokenizer.model", "special_tokens_map.json", "generation_config.json", "sitecustomize.py")  # fmt: skip
    for kind in ("pickle", "zip"):
        for name in ("model.safetensors", "config.json", "vocabulary.json", "atlantis.json"):
            prepare = forged(checkpoint_of, name, bomb(kind), evaluate)
            found.append(Case(f"{kind} as {name}", prepare, REFUSED, name))
        found.append(
            Case(
                f"{kind} as state.safetensors",
                forged(state_of, "state.safetensors", bomb(kind), resume_state),
                may_change=NOTED,
            )
        )
        found.append(
            Case(
                f"{kind} as progress.json",
                forged(state_of, "progress.json", bomb(kind), resume_state),
                DONE,
                "damaged: ",
                RUN_WRITES,
            )
        )
        found.append(Case(f"{kind} as dataset.json", forged(dataset_of, "dataset.json", bomb(kind), evaluate)))
        found.append(
            Case(f"{kind} as a split", forged(dataset_of, "test/data-00000-of-00001.arrow", bomb(kind), evaluate))
        )
        found.append(Case(f"{kind} as cities.csv", forged(world_of, "cities.csv", bomb(kind), show_world)))
        found.append(Case(f"{kind} as world.json", forged(world_of, "world.json", bomb(kind), show_world)))
        for name in ("run.json", "metrics.jsonl", "config.yaml"):
            found.append(Case(f"{kind} as {name}", in_run(name, bomb(kind), show_run), REFUSED, name))
        for name in ("predictions.parquet", "representation_dynamics.csv"):
            found.append(Case(f"{kind} as {name}", forged(analysis_of, name, bomb(kind), lambda s: ["report", TINY])))
        found.append(
            Case(f"{kind} as a config", in_run("../../../evil.yaml", bomb(kind), lambda s: ["train", "evil.yaml"]))
        )
    found += [
        Case(f"pickle beside the weights as {name}", forged(checkpoint_of, name, bomb(kind), evaluate), DONE)
        for name, kind in (
            (name, "npy" if name.endswith("npy") else "pickle" if ".p" in name[-4:] else "zip") for name in beside
        )
    ]
    found += [
        Case(
            f"pickle as {name}, which the command does not need",
            forged(checkpoint_of, name, bomb("pickle"), evaluate),
            DONE,
        )
        for name in ("tokenizer.json", "tokenizer_config.json", "config.yaml")
    ]
    found.append(Case("weights only as a pickle", without_weights))
    found.append(
        Case(
            "an Arrow type that unpickles", forged(dataset_of, "test/data-00000-of-00001.arrow", arrow_bomb(), evaluate)
        )
    )
    found.append(
        Case(
            "a Parquet type that unpickles",
            forged(analysis_of, "predictions.parquet", parquet_bomb(), lambda s: ["report", TINY]),
        )
    )
    return found


def in_run(name: str, content: bytes, command: Any) -> Prepare:
    def prepare(scene: Path) -> list[str]:
        (scene / RUN / name).write_bytes(content)
        return command(scene)

    return prepare


def without_weights(scene: Path) -> list[str]:
    (checkpoint_of(scene) / "model.safetensors").unlink()
    return forged(checkpoint_of, "pytorch_model.bin", bomb("zip"), evaluate)(scene)


def _bomb_table() -> Any:
    import pyarrow as pa

    metadata = {"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": pickle.dumps(Bomb())}
    return pa.table([pa.array([1, 2])], schema=pa.schema([pa.field("step", pa.int64(), metadata=metadata)]))


def arrow_bomb() -> bytes:
    import pyarrow as pa

    sink, table = io.BytesIO(), _bomb_table()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def parquet_bomb() -> bytes:
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(_bomb_table(), sink)
    return sink.getvalue()


# --- config.json


def checkpoint_configs() -> list[Case]:
    code = {"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil"}
    found = [
        Case(f"config.json: {name}", edited(checkpoint_of, "config.json", change, evil(command)), DONE)
        for name, change in (
            ("auto_map", {"auto_map": code}),
            ("auto_map to the network", {"auto_map": {"AutoModel": "somebody/repository--evil.Evil"}}),
            ("trust_remote_code", {"trust_remote_code": True, "auto_map": code}),
            ("an unknown class", {"architectures": ["os.system"]}),
            ("custom_pipelines", {"custom_pipelines": {"x": {"impl": "evil.Evil"}}}),
            ("a quantizer", {"quantization_config": {"quant_method": "evil", "load_in_8bit": True}}),
            ("a template", {"chat_template": "{{ ''.__class__.__mro__ }}"}),
            ("a name to fetch", {"_name_or_path": "http://localhost:9/x", "base_model_name_or_path": "//x/y"}),
        )
        for command in (evaluate,)
    ]
    keys = (
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "max_position_embeddings",
    )
    wrong: tuple[Any, ...] = (10**12, 10**9, 2**63, -1, 0, 1.5, "8", None, True, [8], float("nan"), 10**400)
    for key in keys:
        for value in wrong:
            if (key, value) == ("num_hidden_layers", True):
                continue
            prepare = edited(checkpoint_of, "config.json", {key: value}, evaluate)
            found.append(Case(f"config.json: {key} {str(value)[:20]}", prepare, REFUSED, "config.json"))
    others = {
        "model_type": "evil", "num_key_value_heads": 1, "tie_word_embeddings": True, "atlantis_n_outputs": 10**12,
    } | {"rope_theta": 0}  # fmt: skip
    for key, value in others.items():
        change = {key: value} if key != "rope_theta" else {"rope_parameters": {"rope_theta": value}}
        found.append(
            Case(
                f"config.json: {key} {value}", edited(checkpoint_of, "config.json", change, evaluate), REFUSED, key[:3]
            )
        )
    for value in (-1, "x", float("inf"), [1]):
        change = {"rope_parameters": {"rope_theta": value}}
        found.append(
            Case(
                f"config.json: rope_theta {value}",
                edited(checkpoint_of, "config.json", change, evaluate),
                REFUSED,
                "rope",
            )
        )
    for name, content in BAD_JSON.items():
        for file, says in (
            ("config.json", "config.json"),
            ("vocabulary.json", "vocabulary.json"),
            ("atlantis.json", "atlantis.json"),
        ):
            found.append(Case(f"{file}: {name}", forged(checkpoint_of, file, content, evaluate), REFUSED, says))
    return found


BAD_JSON = {
    "nested 200,000 deep": b"[" * 200_000,
    "a number of 100,000 digits": b'{"vocab_size": ' + b"9" * 100_000 + b"}",
    "11 MB": b'{"x": "' + b"x" * 11_000_000 + b'"}',
    "a list": b"[]",
    "nothing": b"",
    "Latin-1": b'{"x": "\xff"}',
}


def evil(command: Any) -> Any:
    """Beside the files, the module that a loader with trust would import."""

    def with_module(scene: Path) -> list[str]:
        source = "import os\nos.system('touch ../canary')\nclass Evil: pass\n"
        for folder in (scene / "work", checkpoint_of(scene)):
            (folder / "evil.py").write_text(source)
        resealed(checkpoint_of(scene))
        return command(scene)

    return with_module


# --- weights


def weights() -> list[Case]:
    """Each forgery as a checkpoint's weights, and as the saved state of a run that goes on."""
    found = []
    for name, change in WEIGHTS.items():
        prepare = tampered(checkpoint_of, "model.safetensors", change, evaluate)
        found.append(Case(f"safetensors: {name}", prepare, REFUSED, "model.safetensors"))
        prepare = tampered(state_of, "state.safetensors", change, resume_state)
        expect = EITHER if name in ("NaN", "infinity") else REFUSED  # those stop the run at its next step
        found.append(Case(f"state: {name}", prepare, expect, "", RUN_WRITES, may_change=NOTED))
    return found


def tampered(
    folder: Callable[[Path], Path], name: str, change: Callable[[dict[str, Any], bytes], bytes], command: Any
) -> Prepare:
    def prepare(scene: Path) -> list[str]:
        data = (folder(scene) / name).read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + length])
        return forged(folder, name, change(header, data[8 + length :]), command)(scene)

    return prepare


def packed(header: dict[str, Any], data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def on_first(**facts: Any) -> Callable[[dict[str, Any], bytes], bytes]:
    def change(header: dict[str, Any], data: bytes) -> bytes:
        name = next(key for key in header if key != "__metadata__")
        return packed(header | {name: header[name] | facts}, data)

    return change


def _without_one(header: dict[str, Any], data: bytes) -> bytes:
    last = max((key for key in header if key != "__metadata__"), key=lambda key: header[key]["data_offsets"][1])
    end = header[last]["data_offsets"][0]
    return packed({key: value for key, value in header.items() if key != last}, data[:end])


WEIGHTS: dict[str, Callable[[dict[str, Any], bytes], bytes]] = {
    "nothing": lambda h, d: b"",
    "four bytes": lambda h, d: b"\0\0\0\0",
    "a header of length 0": lambda h, d: struct.pack("<Q", 0) + d,
    "a header longer than the file": lambda h, d: struct.pack("<Q", 10**6) + json.dumps(h).encode() + d,
    "a header of 2**63 bytes": lambda h, d: struct.pack("<Q", 2**63) + d,
    "a header of 2**64 - 1 bytes": lambda h, d: struct.pack("<Q", 2**64 - 1) + d,
    "a header that is no JSON": lambda h, d: struct.pack("<Q", 8) + b"notjson!" + d,
    "a header that is a list": lambda h, d: struct.pack("<Q", 2) + b"[]" + d,
    "a header nested 100,000 deep": lambda h, d: struct.pack("<Q", 100_000) + b"[" * 100_000,
    "a header that is not UTF-8": lambda h, d: struct.pack("<Q", 4) + b'{"\xff"' + d,
    "no tensors": lambda h, d: packed({}, b""),
    "bytes after the last tensor": lambda h, d: packed(h, d + b"x" * 100),
    "bytes missing": lambda h, d: packed(h, d[:-4]),
    "a tensor missing": _without_one,
    "one tensor too many": lambda h, d: packed(h | {"x": {"dtype": "F32", "shape": [1], "data_offsets": [len(d), len(d) + 4]}}, d + b"\0" * 4),
    "offsets that overlap": on_first(data_offsets=[0, 8]),
    "offsets in reverse": on_first(data_offsets=[64, 0]),
    "offsets beyond the file": on_first(data_offsets=[0, 10**15]),
    "offsets below 0": on_first(data_offsets=[-8, 0]),
    "a shape that overflows": on_first(shape=[2**32, 2**32]),
    "a shape of 2**63": on_first(shape=[2**63]),
    "a shape below 0": on_first(shape=[-1, 8]),
    "a shape of words": on_first(shape=["8"]),
    "a shape of 10,000 dimensions": on_first(shape=[1] * 10_000),
    "integers": on_first(dtype="I32"),
    "truths": on_first(dtype="BOOL"),
    "half the width": on_first(dtype="F16"),
    "an unknown type": on_first(dtype="EVIL"),
    "one dimension too many": lambda h, d: on_first(shape=[*h[next(k for k in h if k != "__metadata__")]["shape"], 1])(h, d),
    "NaN": lambda h, d: packed(h, struct.pack("<f", float("nan")) + d[4:]),
    "infinity": lambda h, d: packed(h, d[:-4] + struct.pack("<f", float("inf"))),
    "metadata that are no text": lambda h, d: packed(h | {"__metadata__": {"format": 3}}, d),
    "metadata that are another format": lambda h, d: packed(h | {"__metadata__": {"format": "pickle"}}, d)[:-1],
}  # fmt: skip


# --- states

FIRST_CHECKPOINT = f"{TINY}/checkpoints/checkpoint-0"
WRONG_STEPS: tuple[Any, ...] = (None, "2", 2.5, -1, 10**30, [2], {}, True)


def states() -> list[Case]:
    """What a run that goes on reads besides weights: how far it had come, and of which step a checkpoint is."""
    found = []
    for where, folder, file in (
        ("state", state_of, "progress.json"),
        ("checkpoint", lambda scene: scene / "work" / FIRST_CHECKPOINT, "atlantis.json"),
    ):
        changes: dict[str, Prepare] = {
            f"step {value}": edited(folder, file, {"step": value}, resume_state) for value in WRONG_STEPS
        }
        for name, content in {**BAD_JSON, "a word": b'"x"', "an empty group": b"{}", "text": b"not JSON"}.items():
            changes[name] = forged(folder, file, content, resume_state)
        if where == "state":
            for key, value in (("log_bytes", -1), ("log_bytes", 10**30), ("log_bytes", "9"), ("log_bytes", None), ("losses", 3),
                               ("losses", ["x"]), ("log_sha256", 3), ("log_sha256", "x")):  # fmt: skip
                changes[f"{key} {value}"] = edited(folder, file, {key: value}, resume_state)
        found += [Case(f"{where} of a run that goes on: {what}", prepare, EITHER, "", RUN_WRITES, may_change=(*NOTED, f"{RUN.as_posix()}/"))
                  for what, prepare in changes.items()]  # fmt: skip
    for name, content in {**BAD_JSON, "no slices": b"{}", "a list of slices": b'{"slices": []}', "a word": b'{"slices": {"a": "x"}}',
                          "a word for km": b'{"slices": {"world-world": {"mean_km": "x"}}}'}.items():  # fmt: skip
        prepare = forged(lambda scene: scene / "work" / FIRST_CHECKPOINT, "eval_results.json", content, again)
        says = "eval_results.json.*the other 1 of 2 checkpoints"
        found.append(Case(f"scores of a checkpoint that is probed: {name}", prepare, PARTLY, says, RUN_WRITES))
    return found


def again(scene: Path) -> list[str]:
    """Probe a run that has no probes."""
    for folder in (scene / RUN / "analysis").iterdir():
        folder.rename(scene / RUN / f"moved_{folder.name}")
    return probe(scene)


# --- tokenizers


def tokenizers() -> list[Case]:
    regex = {"type": "Split", "pattern": {"Regex": "(a+)+(b+)+$" * 50}, "behavior": "Isolated", "invert": False}
    harmless = {
        "a pattern without end": ("tokenizer.json", {"pre_tokenizer": regex}),
        "a normalizer without end": ("tokenizer.json", {"normalizer": {"type": "Replace", "pattern": {"Regex": "(.*)*x"}, "content": "y" * 10**5}}),
        "a million tokens": ("tokenizer.json", {"added_tokens": [{"id": i, "content": "a" * 50} for i in range(10_000)]}),
        "a class of one's own": ("tokenizer_config.json", {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", None]}}),
        "a template that runs": ("tokenizer_config.json", {"chat_template": "{% for i in range(10**9) %}{% endfor %}"}),
        "a file to fetch": ("tokenizer_config.json", {"name_or_path": "http://localhost:9/", "vocab_file": "/etc/passwd"}),
    }  # fmt: skip
    found = [
        Case(f"tokenizer: {name}", edited(checkpoint_of, file, change, evil(evaluate)), DONE)
        for name, (file, change) in harmless.items()
    ]
    for key, values in {
        "n_cities": (10**12, 10**9, -1, 0, "16", None, 1.5, True, [16], 10**400),
        "kind": ("words", None, 3, ["city"], "../x", "\x1b[2J"),
    }.items():
        for value in values:
            prepare = edited(checkpoint_of, "vocabulary.json", {key: value}, evaluate)
            found.append(Case(f"vocabulary.json: {key} {str(value)[:20]!r}", prepare, REFUSED, "vocabulary.json"))
    return found


# --- names

NAMES = {
    "climbs": "../../outside/kept",
    "is absolute": "/tmp/owned",
    "holds a zero byte": "a\0b",
    "holds a line end": "a\nerror: b",
    "has 300 characters": "x" * 300,
    "turns text around": "a\u202egnp.exe",
    "moves the cursor": "a\x1b[2J\x1b]0;owned\x07",
    "is for a shell": "$(touch canary); `touch canary` | sh & touch canary",
    "is markup": "</script><script>alert(1)</script><svg onload=alert(1)>",
    "is markup of the terminal": "[bold red]x[/bold red][link=http://x]y[/link]",
    "is a formula": '=HYPERLINK("http://x","y")',
    "is of TeX": "$\\frac{\\input{/etc/passwd}",
    "is an address": "javascript:alert(1)",
}


def names() -> list[Case]:
    found = []
    for what, name in NAMES.items():
        places: dict[str, tuple[Prepare, tuple[str, ...]]] = {
            "run.json, shown": (edited_run("run.json", {"name": name}, show_run), ()),
            "dataset.json, shown": (
                edited(dataset_of, "dataset.json", {"name": name, "notes": [name]}, show_dataset),
                (),
            ),
            "atlantis.json": (edited(checkpoint_of, "atlantis.json", {"run": name}, evaluate), ()),
            "eval_results.json, shown": (evaluated(name), ()),
            "a manifest": (listed(name), ()),
            "the metric log": (logged(name, show_run), ()),
            "a sweep's or study's run": (lambda scene, n=name: ["probe", n], ()),
        }
        for place, (prepare, writes) in places.items():
            found.append(Case(f"a name that {what}, in {place}", prepare, EITHER, "", writes))
    return found


def edited_run(name: str, change: dict[str, Any], command: Any) -> Prepare:
    """Other facts in a file of the run, and in `run.json` a seal that agrees: a forger can compute digests, too."""

    def prepare(scene: Path) -> list[str]:
        from atlantis.trust import seal_of

        file = scene / RUN / name
        content = json.loads(file.read_text()) | change
        file.write_text(json.dumps(content | {"seal": seal_of(content)} if name == "run.json" else content))
        return command(scene)

    return prepare


def evaluated(name: str) -> Prepare:
    def prepare(scene: Path) -> list[str]:
        folder = next((scene / RUN / "checkpoints").glob("checkpoint-*"))
        scores = {"slices": {name: {"n": 1, "mean_km": 2.0}}, name: 3}
        (folder / "eval_results.json").write_text(json.dumps(scores))
        resealed(folder)
        return ["show", str(folder)]

    return prepare


def listed(name: str) -> Prepare:
    """A manifest that lists a file outside."""

    def prepare(scene: Path) -> list[str]:
        file = checkpoint_of(scene) / "manifest.json"
        found = json.loads(file.read_text())
        found["files"][name] = {"bytes": 9, "sha256": "0" * 64}
        file.write_text(json.dumps(found))
        return evaluate(scene)

    return prepare


def logged(name: str, command: Any) -> Prepare:
    def prepare(scene: Path) -> list[str]:
        with open(scene / RUN / "metrics.jsonl", "a", encoding="utf-8") as file:
            row = {"step": 9, "kind": "eval", "loss": 1.0, "slices": {name: {"n": 3, "mean_km": 5.0}}}
            file.write(json.dumps(row) + "\n")
        return command(scene)

    return prepare


def cases() -> list[Case]:
    return [*pickles(), *checkpoint_configs(), *weights(), *states(), *tokenizers(), *names()]
