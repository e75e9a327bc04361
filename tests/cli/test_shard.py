"""--shard from argv to files: parts, run by processes that know nothing of each other, leave what one run leaves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from restore_cli.jobs.ledger import LEDGER_NAME
from tests.cli.conftest import Run, image


def test_four_parts_leave_the_bytes_of_one_run_and_one_ledger_line_each(run: Run, tiny: Callable[..., Path]):
    for index in range(9):
        image(f"in/{index}.png", size=(6 + index, 5))
    command = ("denoise", "--weights", tiny("denoise", scale=1), "--threads", "1")
    assert run(*command, "in", "whole").code == 0
    for index in (2, 0, 3, 1):
        assert run(*command, "in", "parts", "--shard", f"{index}/4").code == 0
    names = {path.name for path in Path("whole").glob("*.png")}
    assert len(names) == 9
    assert {path.name for path in Path("parts").glob("*.png")} == names
    assert all(Path("whole", name).read_bytes() == Path("parts", name).read_bytes() for name in names)
    assert len(Path("parts", LEDGER_NAME).read_text().splitlines()) == 9


def test_an_empty_part_is_done_at_once(run: Run, tiny: Callable[..., Path]):
    image("in/a.png")
    ran = [run("denoise", "--weights", tiny("denoise", scale=1), "in", "out", "--shard", f"{i}/3") for i in range(3)]
    assert [one.code for one in ran] == [0, 0, 0]
    assert sum("0 restored" in one.err for one in ran) == 2
