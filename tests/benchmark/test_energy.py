from __future__ import annotations

from pathlib import Path

import pytest
import torch

from restore_cli.benchmark.energy import find_meter

CPU = torch.device("cpu")


@pytest.fixture
def powercap(tmp_path: Path) -> Path:
    """Counters as Linux shows them: two packages, a part of one, and the whole platform."""
    for folder, name in (
        ("intel-rapl:0", "package-0"),
        ("intel-rapl:0:0", "core"),
        ("intel-rapl:1", "package-1"),
        ("intel-rapl:2", "psys"),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "name").write_text(f"{name}\n", encoding="ascii")
        (tmp_path / folder / "max_energy_range_uj").write_text("1000000000\n", encoding="ascii")
        count(tmp_path, folder, 0)
    return tmp_path


def count(powercap: Path, folder: str, joules: float) -> None:
    (powercap / folder / "energy_uj").write_text(f"{round(joules * 1e6)}\n", encoding="ascii")


def test_packages_are_added_up_and_nothing_is_counted_twice(powercap: Path):
    meter = find_meter(CPU, powercap=powercap)
    start = meter.read()
    for folder, joules in (("intel-rapl:0", 30), ("intel-rapl:0:0", 20), ("intel-rapl:1", 12.5), ("intel-rapl:2", 99)):
        count(powercap, folder, joules)
    assert meter.joules_since(start) == pytest.approx(42.5)
    assert "package-0, package-1" in meter.method


def test_a_counter_that_began_anew_goes_on_counting(powercap: Path):
    count(powercap, "intel-rapl:0", 990)
    meter = find_meter(CPU, powercap=powercap)
    start = meter.read()
    count(powercap, "intel-rapl:0", 15)
    assert meter.joules_since(start) == pytest.approx(25)


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_where_nobody_tells_there_is_no_figure_and_a_reason(device: str, tmp_path: Path):
    meter = find_meter(torch.device(device), powercap=tmp_path)
    assert meter.joules_since(meter.read()) is None
    assert meter.method.startswith("not told: ")


def test_counters_that_cannot_be_read_are_a_reason_and_no_error(powercap: Path):
    count(powercap, "intel-rapl:1", 0)
    (powercap / "intel-rapl:1" / "energy_uj").unlink()
    (powercap / "intel-rapl:1" / "energy_uj").mkdir()  # as closed to root as to anyone
    meter = find_meter(CPU, powercap=powercap)
    assert meter.counters == ()
    assert "cannot be read" in meter.method


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_card_counts_upward():
    pytest.importorskip("pynvml")
    meter = find_meter(torch.device("cuda"))
    start = meter.read()
    torch.ones((4096, 4096), device="cuda").square().sum().item()
    assert (meter.joules_since(start) or 0.0) >= 0
