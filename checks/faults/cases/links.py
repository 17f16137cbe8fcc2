"""Symbolic links in run folders, races for a folder's name, and what is written for people."""

# ruff: noqa: E501
from __future__ import annotations

import json
import os
import re
import threading
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

from checks.faults.cases.payloads import (
    NAMES,
    NOTED,
    RUN_WRITES,
    TINY,
    Prepare,
    edited_run,
    evaluate,
    probe,
    resume,
    show_run,
)
from checks.faults.sandbox import DONE, EITHER, REFUSED, Case
from checks.faults.scene import RUN, checkpoint_of, resealed

BUILD = ["world", "build", "--cities", "cities.csv", "--out", "w"]
TRAIN = ["train", "tiny.yaml", "name=other", "training.max_steps=1"]


def linked(place: str, target: str, arguments: list[str]) -> Prepare:
    """A link at `place` in the current folder to a `target` of the scene; what stood there has moved away."""

    def prepare(scene: Path) -> list[str]:
        path = scene / "work" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(path):
            path.rename(scene / "outside" / "moved")
        path.symlink_to(scene / target)
        return arguments

    return prepare


def resumed(prepare: Prepare) -> Prepare:
    def both(scene: Path) -> list[str]:
        arguments = resume(scene)
        prepare(scene)
        return arguments

    return both


def links() -> list[Case]:
    found = [
        Case("link: a world onto somebody's folder", linked("w", "outside/kept", BUILD), REFUSED, "not ours"),
        Case("link: a world onto somebody's file", linked("w", "outside/precious.txt", BUILD), REFUSED, "is a file"),
        Case("link: a world onto nothing", linked("w", "outside/new/deep", BUILD), EITHER),
        Case("link: a run onto somebody's folder", linked("outputs/experiments/other", "outside/kept", TRAIN), REFUSED, "no run"),
        Case("link: a lock onto a file", linked("outputs/experiments/other/.lock", "outside/precious.txt", TRAIN), REFUSED),
        Case("link: page", linked(f"{TINY}/report", "outside", ["report", TINY]), REFUSED, "symbolic link"),
        Case("link: a page's file", page_linked, EITHER, "", RUN_WRITES),
        Case("link: pictures", linked(f"{TINY}/analysis/figures", "outside/kept", ["report", TINY]), REFUSED, "symbolic link"),
        Case("link: probes", linked(f"{TINY}/analysis", "outside/moved", ["probe", TINY]), REFUSED, "symbolic link"),
        Case("link: one probe", linked(f"{TINY}/analysis/degrees", "outside/moved", ["probe", TINY]), REFUSED, "symbolic link"),
        Case("link: a file in a checkpoint", in_checkpoint, EITHER),
        Case("link: a folder in a world that is built again", in_world, REFUSED),
    ]  # fmt: skip
    for name in ("checkpoints", "state", "report", "analysis"):
        prepare = resumed(linked(f"{TINY}/{name}", "outside/moved", []))
        found.append(Case(f"link: {name} of a run that goes on", prepare, REFUSED, "symbolic link"))
    for name in ("metrics.jsonl", ".lock"):
        prepare = resumed(linked(f"{TINY}/{name}", "outside/precious.txt", []))
        found.append(Case(f"link: {name} of a run that goes on", prepare, REFUSED, " link", may_change=NOTED))
    for name in (".partial-999999", ".replaced-999999"):
        found.append(Case(f"somebody's folder named .w{name}", leftover(f".w{name}"), DONE, "real cities"))
    found.append(Case("a pipe in place of the lock", resumed(pipe(".lock")), REFUSED))
    found.append(
        Case(
            "a pipe in place of the metric log",
            resumed(pipe("metrics.jsonl")),
            REFUSED,
            "not an ordinary file",
            may_change=NOTED,
        )
    )
    found.append(Case("a pipe in place of run.json", pipe("run.json"), REFUSED))
    found.append(Case("a pipe in place of config.yaml", pipe("config.yaml"), EITHER))
    found.append(Case("a code of one's own in a run's config", own_code(["show", TINY]), DONE))
    found.append(Case("a code of one's own in a run that is probed", own_code(["probe", TINY]), EITHER, "", RUN_WRITES))
    found.append(
        Case("a code of one's own in a base", own_code([*TRAIN, f"base={TINY}", "evaluation.probe=false"]), EITHER)
    )
    return found


def page_linked(scene: Path) -> list[str]:
    page = scene / RUN / "report" / "index.html"
    page.unlink()
    page.symlink_to("../../../../../outside/precious.txt")
    return ["report", TINY]


def in_checkpoint(scene: Path) -> list[str]:
    file = checkpoint_of(scene) / "README"
    file.symlink_to("../../../../../../outside/precious.txt")
    return evaluate(scene)


def in_world(scene: Path) -> list[str]:
    (scene / "work" / "w").mkdir()
    (scene / "work" / "w" / "manifest.json").write_text(
        json.dumps({"kind": "world", "digest": "", "atlantis": "", "files": {"../../outside/precious.txt": {}}})
    )
    (scene / "work" / "w" / "kept").symlink_to("../../outside/kept")
    return BUILD


def leftover(name: str) -> Prepare:
    def prepare(scene: Path) -> list[str]:
        (scene / "work" / name).mkdir()
        (scene / "work" / name / "thesis.txt").write_text("mine")
        (scene / "work" / f"{name[:-1]}8").symlink_to("../outside/kept")
        return BUILD

    return prepare


def pipe(name: str) -> Prepare:
    def prepare(scene: Path) -> list[str]:
        (scene / RUN / name).unlink(missing_ok=True)
        os.mkfifo(scene / RUN / name)
        return ["show", TINY]

    return prepare


def own_code(arguments: list[str]) -> Prepare:
    """A config that names a strategy of its maker's, whose module lies in the current folder."""

    def prepare(scene: Path) -> list[str]:
        (scene / "work" / "evil_strategy.py").write_text("import os\nos.system('touch ../canary')\n")
        (scene / RUN / "run.json").unlink()  # which knows another config: as a stranger's folder has none of ours
        file = scene / RUN / "config.yaml"
        text = re.sub(r"strategy:\n(  .*\n)+", "strategy: {name: 'evil_strategy:Evil', weight: 3}\n", file.read_text())
        assert "evil_strategy" in text
        file.write_text(text)
        return arguments

    return prepare


# --- races


def races() -> list[Case]:
    return [
        Case("a race: the folder's name becomes a link, again and again", racing("w", "folder"), EITHER, "", ("work/",), ("work/",)),
        Case("a race: the file aside becomes a link", racing("w", "aside"), EITHER, "", ("work/",), ("work/",)),
        *[Case(f"a race: {name} of a run that trains becomes a link", racing(f"outputs/experiments/other/{name}", "artifact"), EITHER, "", ("work/",), ("work/",))
          for name in ("checkpoints", "state", "metrics.jsonl", "run.json")],
        Case("a race: the folder of the runs becomes a link", racing("outputs/experiments/other", "artifact"), EITHER, "", ("work/",), ("work/",)),
        Case("a race: the probe's folder becomes a link", racing(f"{TINY}/analysis/degrees", "artifact"), EITHER, "", ("work/",), ("work/",)),
    ]  # fmt: skip


def racing(name: str, how: str) -> Prepare:
    """A thread that puts links to somebody's folder where the command is about to write, for two seconds."""

    def prepare(scene: Path) -> list[str]:
        target, kept = scene / "work" / name, scene / "outside" / "kept"
        stop = threading.Event()
        threading.Timer(2.0, stop.set).start()

        def swap() -> None:
            moved = target.with_name("moved_away")
            while not stop.is_set():
                if how == "artifact" and not target.exists():
                    continue  # what is a link from the beginning is refused: see `links`
                for link, there in ((target, kept), (target.with_name(f".{target.name}.partial-{os.getpid()}"), kept)):
                    if how == "aside" and link is target:
                        continue
                    try:
                        if how == "artifact" and target.exists() and not target.is_symlink() and not moved.exists():
                            os.rename(target, moved)
                        link.symlink_to(there)
                        os.unlink(link)
                        if how == "artifact" and moved.exists():
                            os.rename(moved, target)
                    except OSError:
                        pass

        threading.Thread(target=swap, name="race").start()
        return BUILD if name == "w" else TRAIN if "/other" in name else probe(scene)

    return prepare


# --- what people read


def pages() -> list[Case]:
    """Each name once as a run's and once as a region's; all of them as cities'."""
    every = list(NAMES.values())
    return [
        Case(
            f"a page whose run's name {what}, and other names likewise",
            hostile_run(every[k:] + every[:k]),
            DONE,
            "",
            RUN_WRITES,
            check=sound,
            cpu_s=60,
        )
        for k, what in list(enumerate(NAMES))[::2]
    ]


def hostile_run(names: list[str]) -> Prepare:
    """Names everywhere the page, its pictures and its tables take a text from."""

    def prepare(scene: Path) -> list[str]:
        import pandas as pd

        about = {"name": names[0], "command": names[2], "dataset": {"name": names[3], "notes": names}}
        edited_run("run.json", about, show_run)(scene)
        for protocol in ("degrees", "sphere"):
            folder = scene / RUN / "analysis" / protocol
            table = pd.read_parquet(folder / "predictions.parquet")
            virtual = table["is_virtual"]
            region = table.loc[virtual, "region"].iloc[0]
            table.loc[virtual, "region"] = names[1]
            table["name"] = [names[k % len(names)] for k in range(len(table))]
            table.to_parquet(folder / "predictions.parquet", index=False)
            dynamics = pd.read_csv(folder / "representation_dynamics.csv", keep_default_na=False)
            dynamics["group"] = dynamics["group"].replace(region, names[1])
            dynamics.to_csv(folder / "representation_dynamics.csv", index=False)
            resealed(folder)
        return ["report", TINY]

    return prepare


class Elements(HTMLParser):
    """Elements of a page that could act, and attributes that could."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts, self.wrong = 0, list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        if tag in ("iframe", "object", "embed", "base", "form"):
            self.wrong.append(tag)
        for key, value in attrs:
            if key.startswith("on") or re.match(r"\s*(javascript|data:text)", value or "", re.IGNORECASE):
                self.wrong.append(f"{tag} {key}={value}")


def sound(scene: Path) -> str:
    """What is wrong with the page, the pictures and the tables that were written; nothing if all is well."""
    page = (scene / RUN / "report" / "index.html").read_text(encoding="utf-8")
    elements = Elements()
    elements.feed(page)
    if elements.wrong or elements.scripts != page.count("</script>") or "Content-Security-Policy" not in page:
        return f"the page: {elements.wrong or elements.scripts}"
    for picture in (scene / RUN).rglob("*.svg"):
        for element in ElementTree.parse(picture).iter():
            if "script" in str(element.tag) or any(key.startswith("on") for key in element.attrib):
                return f"{picture.name}: {element.tag}"
    for table in (scene / RUN / "report").rglob("*.csv"):
        for cell in re.split(r'[,\n]"?', table.read_text(encoding="utf-8")):
            if cell.startswith(("=", "@", "\t", "\r")) or re.match(r"[+-](?!\d)", cell):
                return f"{table.name}: a cell that a spreadsheet runs: {cell[:40]!r}"
    return ""


def cases() -> list[Case]:
    return [*links(), *races(), *pages()]
