"""The report: all rows and how cost grew over them, as one JSON document and as CSV."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from typing import Any

from restore_cli.benchmark.growth import growths
from restore_cli.benchmark.machine import Environment
from restore_cli.benchmark.rows import Row
from restore_cli.storage.files import printable

SCHEMA = "restore-bench/3"


@dataclass(frozen=True, kw_only=True)
class BenchReport:
    """Hold all rows and what they were taken with."""

    environment: Environment
    rows: tuple[Row, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the whole report as one JSON object."""
        return {
            "schema": SCHEMA,
            "environment": self.environment.to_json(),
            "rows": [row.to_json() for row in self.rows],
            "growth": [growth.to_json() for growth in growths(self.rows)],
        }

    def to_csv(self) -> str:
        """Return one line a row under a line of field names; lists are JSON in their field, null is empty."""
        rows = [row.to_json() for row in self.rows]
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow(
                {key: json.dumps(value) if isinstance(value, list) else value for key, value in row.items()}
            )
        return printable(text.getvalue(), keeping="\n")
