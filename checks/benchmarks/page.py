"""docs/performance.md from `performance.md` (the prose) and `records/` (every figure).

`python -m checks.benchmarks.page` writes it.

In the prose, `{{name}}` stands for a table below, and `{{benchmark:path|format}}` for one number of that benchmark's
newest record: `{{train:settings.batch_size|,}}`. In place of a benchmark's name a record's can stand, as its file has
it without `.json`: that is how a figure of an older version is quoted.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from atlantis.names import protocol_named
from checks.benchmarks.common import RECORDS
from checks.pages import Records, table, write
from checks.records import ROOT, read_files

TEMPLATE = Path(__file__).with_name("performance.md")
PAGE = ROOT / "docs" / "performance.md"

WAYS = {
    "peer": "the peer: rows padded to the context, logits everywhere",
    "neither": "ours, without the three ideas",
    "shared prefix": "with the shared prefix",
    "last block where asked": "with the last block where asked",
    "both": "with these two: what our engine does on a GPU",
    "tree": "as a tree, and the last block where asked: what our engine does on a CPU",
}
RIVALS = {
    "trainer": "transformers `Trainer`",
    "plain": "our engine, compile=no: plain PyTorch",
    "compiled": "our engine, compile=yes: torch.compile",
    "engine": "our engine, by default",
    "bf16": "our engine, precision=bf16",
}


def read_records(folder: Path = RECORDS) -> Records:
    """All records but those of `--quick`: by file name, and the newest of each benchmark under its own name."""
    files = read_files(folder)
    return files | {content["benchmark"]: content for content in files.values()}


# parts of tables


def spread(found: dict[str, Any], spec: str = ",.0f", scale: float = 1.0) -> str:
    """Median (least to greatest)."""
    median, least, greatest = (format(found[key] * scale, spec) for key in ("median", "min", "max"))
    return f"**{median}** ({least} to {greatest})"


def about(record: dict[str, Any]) -> str:
    """Where and when a record comes from, in one line below its table. Counts are the same on every machine."""
    made = f"{record['date'][:10]}, commit {record['commit']}"
    if record["benchmark"] == "count":
        return f"{made}."
    machine, versions = record["machine"], record["versions"]
    where = f"{machine['cpu']}, cores: {machine['cores']}, threads: {machine['threads']}"
    where += f", {machine['gpu']}" if machine["gpu"] else ""
    packages = ", ".join(f"{name} {versions[name]}" for name in ("python", "torch", "transformers"))
    return f"{made}, rounds: {record['rounds']}. {where}; {packages}."


def section(name: str) -> Callable[[Callable[[dict[str, Any]], str]], Callable[[Records], str]]:
    """A table of the newest record of benchmark `name`, with where it comes from; a line where there is none."""

    def decorate(make: Callable[[dict[str, Any]], str]) -> Callable[[Records], str]:
        def block(records: Records) -> str:
            if name not in records:
                return f"*Not measured yet: there is no record of `{name}`.*"
            record = records[name]
            return f"{make(record['results'])}\n\n<sub>{about(record)}</sub>"

        return block

    return decorate


# tables


@section("count")
def counted_training(results: dict[str, Any]) -> str:
    needs = results["training"]
    rows = [
        (label, f"{needs[way]['flops'] / 1e6:,.1f}", f"{needs[way]['bytes'] / 1e6:,.2f}", _saved(needs, way))
        for way, label in WAYS.items()
    ]
    return table(("a training step, per sample", "million operations", "MB", "operations saved"), rows)


def _saved(needs: dict[str, Any], way: str) -> str:
    return "" if way == "peer" else f"{1 - needs[way]['flops'] / needs['peer']['flops']:.0%}"


@section("count")
def counted_reading(results: dict[str, Any]) -> str:
    rows = [
        (f"{label}, {who}", f"{results[kind][way]['flops'] / 1e6:,.1f}", f"{results[kind][way]['bytes'] / 1e6:,.2f}")
        for kind, label in (("evaluation", "one answer"), ("probing", "one city's probe"))
        for way, who in (("peer", "the plain way"), ("needed", "row by row"))
    ]
    return table(("", "million operations", "MB"), rows)


def _ceiling(results: dict[str, Any]) -> str:
    side = results["settings"]["side"]
    rows = []
    for kind, precision in (("ceiling", ""), ("ceiling_bf16", ", bfloat16")):
        if limits := results.get(kind):
            rows += [
                (f"square products, side {side:,}{precision}", spread(limits["square"], ",.1f", 1e-9) + " Gflop/s"),
                (f"the model's own products with weights{precision}", spread(limits["own"], ",.1f", 1e-9) + " Gflop/s"),
            ]
    rows.append(("copying memory", spread(results["ceiling"]["copy"], ",.1f", 1e-9) + " GB/s"))
    return table(("", "median (least to greatest)"), rows)


ceiling = section("train")(_ceiling)


@section("train")
def floor(results: dict[str, Any]) -> str:
    copy = results["ceiling"]["copy"]["median"]
    rows = [
        (label, f"{us:,.0f}", f"{1e6 / us:,.0f}", f"{1e6 * results['bytes'][way] / copy:,.0f}")
        for way, label in WAYS.items()
        if (us := results["floor_us"][way])
    ]
    return table(("", "µs per sample", "samples/s", "µs for its bytes, uncached"), rows)


def _rates(results: dict[str, Any]) -> str:
    rows = [
        (
            RIVALS[name],
            spread(rival["samples_per_second"]),
            spread(rival["against_trainer"], ".2f"),
            spread(rival["share"], ".0%"),
            f"{rival['times_floor']['median']:.2f}",
            f"{rival['peak_mb']:,}" + (f" (GPU {rival['gpu_mb']:,})" if rival["gpu_mb"] else ""),
            f"{rival['ready_s']:.1f}",
        )
        for name in RIVALS
        if (rival := results["rivals"].get(name))
    ]
    header = ("", "samples/s", "times Trainer", "share of the ceiling", "times the floor", "peak MB", "s to first step")
    return table(header, rows)


rates = section("train")(_rates)


def rates_bf16(records: Records) -> str:
    """The newest record of `train` with bfloat16 in it, if it is not the newest one, whose table stands above."""
    found = [
        record for stem, record in records.items() if stem.endswith("_train") if "bf16" in record["results"]["rivals"]
    ]
    if not found:
        return "*Not measured yet: there is no record of `train` on a processor with instructions for bfloat16.*"
    if found[-1] is records["train"]:
        return "The table above is of such a processor."
    return f"{_rates(found[-1]['results'])}\n\n{_ceiling(found[-1]['results'])}\n\n<sub>{about(found[-1])}</sub>"


@section("ideas")
def ideas(results: dict[str, Any]) -> str:
    rows = [
        (name, spread(idea["samples_per_second"]), spread(idea["against_default"], ".2f"), f"{idea['peak_mb']:,}")
        for name, idea in results["ideas"].items()
    ]
    return table(("", "samples/s", "times the default", "peak MB"), rows)


def history(records: Records) -> str:
    """Our engine in every record of `train`, the oldest first."""
    found = [content for stem, content in records.items() if stem.endswith("_train")]
    if not found:
        return "*Not measured yet: there is no record of `train`.*"
    rows = [
        (
            f"{record['date'][:10]}, {record['commit']}",
            f"{record['machine']['cpu']}, threads: {record['machine']['threads']}",
            spread(engine["samples_per_second"]),
            f"{engine['against_trainer']['median']:.2f}",
            f"{engine['share']['median']:.0%}",
            f"{engine['times_floor']['median']:.2f}",
        )
        for record in found
        if (engine := record["results"]["rivals"]["engine"])
    ]
    return table(("version", "machine", "samples/s", "times Trainer", "share", "times the floor"), rows)


@section("strategies")
def strategies(results: dict[str, Any]) -> str:
    rows = [
        (f"`{name}`", spread(cost["times_naive"], ".2f"), f"{cost['more_mb']:+,}", f"{cost['begin_s']:,.1f}")
        for name, cost in results["strategies"].items()
    ]
    return table(("", "times a naive step", "more peak MB", "s before the first step"), rows)


@section("evaluation")
def evaluation(results: dict[str, Any]) -> str:
    names = {"peer": "`model.generate`, scaled to all prompts", "ours": "`atlantis.readout.generate`"}
    rows = [
        (
            label,
            spread(rival["prompts_per_second"]),
            f"{rival['seconds']:,.1f}",
            spread(rival["against_peer"], ",.1f"),
            f"{rival['peak_mb']:,}",
        )
        for name, label in names.items()
        if (rival := results["rivals"][name])
    ]
    return table(("", "prompts/s", "s for all", "times the peer", "peak MB"), rows)


@section("probe")
def probe(results: dict[str, Any]) -> str:
    names = {"peer": "transformers and scikit-learn", "ours": "`atlantis.probe`"}
    rows = [
        (
            label,
            spread(rival["seconds"], ".1f"),
            spread(rival["against_peer"], ".1f"),
            f"{rival['peak_mb']:,}",
            "; ".join(
                f"{name} {scores['lon_r2']:.4f} / {scores['lat_r2']:.4f}, {scores['mean_km']:.1f} km"
                for name, scores in _by_protocol(rival["scores"])
            ),
        )
        for name, label in names.items()
        if (rival := results["rivals"][name])
    ]
    return table(("", "s per checkpoint", "times the peer", "peak MB", "reading"), rows)


def _by_protocol(scores: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(protocol_named(name), values) for name, values in scores.items()]


@section("data")
def data(results: dict[str, Any]) -> str:
    seconds, peak, settings = results["seconds"], results["peak_mb"], results["settings"]
    limits = settings["large_limits"]
    rows = [
        ("plain Python, pairs and text", spread(seconds["plain_rows"], ".1f"), f"{peak['plain_rows']:,}"),
        ("plain Python, tokens (scaled)", spread(seconds["plain_tokens"], ".1f"), ""),
        ("plain Python, all", spread(seconds["plain"], ".1f"), ""),
        ("ours, all", spread(seconds["ours"], ".2f"), f"{peak['ours']:,}"),
        (
            f"ours, in a world of {settings['large_cities']:,} cities, its CSV file included "
            f"(at most {limits['seconds']} s and {limits['peak_mb']:,} MB are allowed)",
            spread(seconds["large"], ".1f"),
            f"{peak['large']:,}",
        ),
    ]
    return table((f"{settings['rows']:,} pairs", "s", "peak MB"), rows)


@section("startup")
def startup(results: dict[str, Any]) -> str:
    names = {
        "interpreter": "`python -c pass`",
        "help": "`atlantis --help`",
        "import_torch": '`python -c "import torch"`',
        "first_step": "`atlantis train`, to the first step",
        "peer_first_step": "transformers `Trainer`, to the first step",
    }
    return table(("", "s"), [(label, spread(results["seconds"][name], ".2f")) for name, label in names.items()])


@section("gpu")
def gpu(results: dict[str, Any]) -> str:
    return f"{_rates(results)}\n\n{_ceiling(results)}"


TABLES: dict[str, Callable[[Records], str]] = {
    "counted_training": counted_training,
    "counted_reading": counted_reading,
    "ceiling": ceiling,
    "floor": floor,
    "rates": rates,
    "rates_bf16": rates_bf16,
    "ideas": ideas,
    "history": history,
    "strategies": strategies,
    "evaluation": evaluation,
    "probe": probe,
    "data": data,
    "startup": startup,
    "gpu": gpu,
}


if __name__ == "__main__":
    write(PAGE, TEMPLATE, read_records(), TABLES, "make bench")
