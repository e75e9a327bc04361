"""Free memory is the least of what machine and control groups leave; budgets are coarse steps of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from restore_cli.inference.device import GIB, host_free_memory, plan_budget

UNLIMITED_V1 = "9223372036854771712"


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def free(root: Path) -> int:
    return host_free_memory(proc=root / "proc", cgroups=root / "cgroup")


def test_without_limits_what_the_kernel_calls_available_counts(tmp_path: Path):
    write(tmp_path, {"proc/meminfo": "MemTotal: 9000 kB\nMemAvailable: 8000 kB\n", "proc/self/cgroup": "0::/\n"})

    assert free(tmp_path) == 8000 * 1024


def test_a_limit_of_the_second_version_counts_less_the_cache_that_can_go(tmp_path: Path):
    write(
        tmp_path,
        {
            "proc/meminfo": "MemAvailable: 8000000 kB\n",
            "proc/self/cgroup": "0::/box/inner\n",
            "cgroup/box/inner/memory.max": "max\n",
            "cgroup/box/inner/memory.current": "700\n",
            "cgroup/box/memory.max": "1000\n",
            "cgroup/box/memory.current": "700\n",
            "cgroup/box/memory.stat": "anon 500\ninactive_file 200\nactive_file 0\n",
        },
    )

    assert free(tmp_path) == 1000 - (700 - 200)


def test_a_limit_of_the_first_version_counts(tmp_path: Path):
    write(
        tmp_path,
        {
            "proc/meminfo": "MemAvailable: 8000000 kB\n",
            "proc/self/cgroup": "11:cpu,cpuacct:/box\n4:memory:/box\n1:name=systemd:/box\n",
            "cgroup/memory/box/memory.limit_in_bytes": "1000",
            "cgroup/memory/box/memory.usage_in_bytes": "400",
            "cgroup/memory/box/memory.stat": "inactive_file 1\ntotal_inactive_file 100\n",
            "cgroup/memory/memory.limit_in_bytes": UNLIMITED_V1,
            "cgroup/memory/memory.usage_in_bytes": "5000",
        },
    )

    assert free(tmp_path) == 1000 - (400 - 100)


def test_a_container_that_sees_its_group_from_outside_still_finds_its_limit(tmp_path: Path):
    write(
        tmp_path,
        {
            "proc/meminfo": "MemAvailable: 8000000 kB\n",
            "proc/self/cgroup": "0::/docker/0123abcd\n",
            "cgroup/memory.max": "5000\n",
            "cgroup/memory.current": "9000\n",
        },
    )

    assert free(tmp_path) == 0


def test_a_system_without_these_files_still_gives_a_number(tmp_path: Path):
    assert free(tmp_path) > 0


def test_this_machine_has_memory():
    assert 2**20 < host_free_memory() < 2**50


@pytest.mark.parametrize(
    ("free_gib", "device", "budget_gib"),
    [(100, "cpu", 4), (8, "cpu", 4), (7.9, "cpu", 3), (5, "cpu", 2), (4, "cpu", 2), (80, "cuda", 64), (16, "mps", 8)],
)
def test_the_budget_is_a_part_of_what_is_free_in_coarse_steps(free_gib: float, device: str, budget_gib: float):
    assert plan_budget(int(free_gib * GIB), device) == budget_gib * GIB


@pytest.mark.parametrize(("free_gib", "device", "budget_gib"), [(20, "cpu", 12), (8, "cpu", 4), (80, "cuda", 64)])
def test_a_whole_image_in_bands_may_take_more_of_a_large_machine(free_gib: float, device: str, budget_gib: float):
    assert plan_budget(int(free_gib * GIB), device, in_bands=True) == budget_gib * GIB


def test_no_memory_gives_a_budget_all_the_same():
    assert plan_budget(0, "cpu") >= 0
