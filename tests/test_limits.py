"""Processors and memory that a container or a cluster grants, from planted control groups."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atlantis import limits
from atlantis.errors import UserError
from atlantis.settings import RunConfig
from atlantis.training import possible

CORES, PHYSICAL = 64, 256 << 30
NONE_V1 = "9223372036854771712"


@pytest.fixture(autouse=True)
def a_large_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(CORES)), raising=False)
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": PHYSICAL >> 12, "SC_PAGE_SIZE": 4096}.__getitem__)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)


def plant(root: Path, cgroup: str, files: dict[str, str]) -> Path:
    for name, text in {"proc/self/cgroup": cgroup, **{f"sys/fs/cgroup/{name}": t for name, t in files.items()}}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


V1 = "5:cpu,cpuacct:/job/step\n4:memory:/job/step\n1:name=systemd:/x\n"


@pytest.mark.parametrize(
    ("cgroup", "files", "cpus", "memory"),
    [
        ("", {}, CORES, PHYSICAL),
        ("0::/a/b\n", {"cpu.max": "max 100000\n", "memory.max": "max\n"}, CORES, PHYSICAL),
        ("0::/a/b\n", {"a/b/cpu.max": "250000 100000\n", "a/b/memory.max": "1073741824\n"}, 2, 1 << 30),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "50000 100000"}, 1, PHYSICAL),
        ("0::/a/b\n", {"a/b/memory.max": "3000", "a/memory.max": "2000", "memory.max": "4000"}, CORES, 2000),
        ("0::/\n", {"cpu.max": "400000 100000\n", "memory.max": "8589934592"}, 4, 8 << 30),
        ("0::/../elsewhere\n", {"cpu.max": "300000 100000\n"}, 3, PHYSICAL),
        ("0::/docker/of_the_host\n", {"cpu.max": "300000 100000\n"}, 3, PHYSICAL),
        ("0::/a\n", {"unified/a/cpu.max": "600000 100000\n"}, 6, PHYSICAL),
        (V1, {"cpu,cpuacct/job/step/cpu.cfs_quota_us": "-1", "memory/job/step/memory.limit_in_bytes": NONE_V1},
         CORES, PHYSICAL),
        (V1, {"cpu,cpuacct/job/cpu.cfs_quota_us": "150000\n", "cpu,cpuacct/job/cpu.cfs_period_us": "50000\n",
              "memory/job/step/memory.limit_in_bytes": NONE_V1, "memory/job/memory.limit_in_bytes": "5000000\n"},
         3, 5_000_000),
        (V1, {"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000",
              "memory/memory.limit_in_bytes": "7000000"}, 2, 7_000_000),
        ("0::/a\n", {"a/cpu.max": "99999999999 100000\n", "a/memory.max": "999999999999999"}, CORES, PHYSICAL),
        ("0::/a\n", {"a/cpu.max": "1000 100000\n"}, 1, PHYSICAL),
    ],
)  # fmt: skip
def test_the_least_limit_counts(cgroup: str, files: dict[str, str], cpus: int, memory: int, tmp_path: Path) -> None:
    root = plant(tmp_path, cgroup, files)
    assert (limits.cpus(root), limits.memory_bytes(root)) == (cpus, memory)


def test_slurm_and_affinity_count_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = plant(tmp_path, "0::/\n", {"cpu.max": "1600000 100000\n"})
    for text, expected in (("4", 4), ("32", 16), ("0", 16), ("", 16), ("many", 16), ("-1", 16)):
        monkeypatch.setenv("SLURM_CPUS_PER_TASK", text)
        assert limits.cpus(root) == expected
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert limits.cpus(root) == 1


content = st.text() | st.builds("{} {}".format, st.integers(-5, 10**7), st.integers(-5, 10**6)) | st.integers().map(str)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(lines=st.lists(st.text() | st.sampled_from(V1.split("\n")), max_size=4), quota=content, memory=content)
def test_whatever_the_files_hold_there_is_an_answer(
    lines: list[str], quota: str, memory: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("root")
    names = ("cpu.max", "cpu,cpuacct/job/cpu.cfs_quota_us", "cpu,cpuacct/job/cpu.cfs_period_us")
    files = dict.fromkeys(names, quota) | dict.fromkeys(("memory.max", "memory/job/memory.limit_in_bytes"), memory)
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_bytes("\n".join(["0::/a", *lines]).encode("utf-8", "replace"))
    for name, text in files.items():
        (file := root / "sys/fs/cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode("utf-8", "replace"))
    assert 1 <= limits.cpus(root) <= CORES
    assert 0 < limits.memory_bytes(root) <= PHYSICAL


def test_threads_follow_a_quota_unless_the_user_says_how_many(tmp_path: Path) -> None:
    free, small = tmp_path / "free", plant(tmp_path, "0::/\n", {"cpu.max": "200000 100000"})
    cases: list[tuple[Path, dict[str, str], dict[str, str]]] = [
        (free, {}, {}),
        (small, {}, {"OMP_NUM_THREADS": "2"}),
        (small, {"OMP_NUM_THREADS": "8"}, {"OMP_NUM_THREADS": "8"}),
        (small, {"MKL_NUM_THREADS": "3"}, {"MKL_NUM_THREADS": "3"}),
    ]
    for root, environment, expected in cases:
        limits.limit_threads(environment, root)
        assert environment == expected


def test_what_asks_for_more_memory_than_it_may_have_is_refused(
    monkeypatch: pytest.MonkeyPatch, small_world: Any
) -> None:
    config = RunConfig.model_validate({"dataset": {"kind": "distance", "n_train": 100, "n_val": 1, "n_test": 1}})
    possible.check_request(config, small_world)
    monkeypatch.setattr(limits, "memory_bytes", lambda: 15_000_000)
    with pytest.raises(UserError, match=r"weights need 0\.02\d GB to train, this process may use 0\.015"):
        possible.check_request(config, small_world)


def test_a_context_whose_mask_no_memory_holds_is_refused(monkeypatch: pytest.MonkeyPatch, small_world: Any) -> None:
    config = RunConfig.model_validate(
        {"dataset": {"kind": "distance", "n_train": 100, "n_val": 1, "n_test": 1}, "model": {"context": 1_000_000}}
    )
    monkeypatch.setattr(limits, "memory_bytes", lambda: 64 << 30)
    with pytest.raises(UserError, match=r"model\.context: its mask of 1,000,000,000,000 numbers need 2,000 GB"):
        possible.check_request(config, small_world)


def test_workers_follow_processors_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    from atlantis.sweep.child import Job
    from atlantis.sweep.local import Local

    job = Job("x", Path(), Path(), Path(), device="cpu", threads=2)
    monkeypatch.setattr(limits, "cpus", lambda: 7)
    assert len(Local()._places([job])) == 3
    monkeypatch.setattr(limits, "memory_bytes", lambda: 1 << 30)
    assert len(Local()._places([job])) == 2
    assert len(Local(workers=5)._places([job])) == 5
