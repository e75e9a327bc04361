"""Files made to hurt cost little: seconds and memory of each, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

MOST_SECONDS, MOST_MEGABYTES = 5, 512


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="each file is decoded in a forked process")
def test_no_hostile_file_takes_more_than_its_share() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.imaging.hostile"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) > 45
    for row in rows:
        outcome, expected = row["outcome"], row["expected"]
        assert outcome.startswith(("refused: x: it", "read: ")), row
        assert expected == "either" or outcome.startswith(expected), row
        # Processor time, since another program's share of a busy machine is not the file's doing.
        assert row["cpu_seconds"] <= MOST_SECONDS, row
        assert row["megabytes"] <= MOST_MEGABYTES, row
