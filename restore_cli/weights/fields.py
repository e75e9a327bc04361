"""Read JSON field by field: wrong types, unknown and missing names are named, never guessed around.

Stage 2, PLAN: what `entry` and `manifest` are checked with. A schema library would be a dependency for two dozen
fields, and its messages speak of schemas; these speak of the entry and the field.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Collection, Mapping
from typing import Any, NoReturn, cast

from restore_cli.errors import ManifestError


def did_you_mean(name: str, known: Collection[str]) -> str:
    """Return ", did you mean 'x'?" for the nearest known name, or nothing where none is near."""
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return f", did you mean {near[0]!r}?" if near else ""


def strict_json(data: bytes | str) -> object:
    """Parse JSON, refusing what `json.loads` lets pass: doubled keys, NaN and infinities, endless nesting.

    Raises:
        ManifestError: If it is not JSON in that sense.
    """
    try:
        return json.loads(data, object_pairs_hook=_once_each, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:  # a UnicodeDecodeError is a ValueError
        raise ManifestError(f"not valid JSON: {error}") from error


class Fields:
    """Hand out the fields of one JSON object, each checked; None counts as absent.

    Args:
        values: The object, as `json.loads` gave it.
        where: What the object is, for messages: "entry 'ramit-sr-x4'".
        known: Every field name the object may have.

    Raises:
        ManifestError: If `values` is no object or has a field that is not known.
    """

    def __init__(self, values: object, where: str, known: Collection[str]) -> None:
        if not isinstance(values, dict):
            raise ManifestError(f"{where} must be an object, not {_kind(values)}")
        self._values = cast("dict[str, Any]", values)
        self._where = where
        for name in self._values:
            if name not in known:
                hint = did_you_mean(name, known)
                raise ManifestError(f"{where}: unknown field {name!r}{hint} (known: {', '.join(sorted(known))})")

    def fault(self, name: str, what: str) -> ManifestError:
        """Return the error that says what is wrong with a field."""
        return ManifestError(f"{self._where}: field {name!r} {what}")

    def has(self, name: str) -> bool:
        """Tell whether the field is there and not null."""
        return self._values.get(name) is not None

    def raw(self, name: str) -> Any:
        """Return the value of a field that must be there."""
        if not self.has(name):
            raise self.fault(name, "is missing")
        return self._values[name]

    def text(self, name: str, *, pattern: str | None = None, known: Collection[str] | None = None) -> str:
        """Return a string that is not blank.

        Args:
            name: The field.
            pattern: Regular expression the whole value must match.
            known: The closed set it must be from.

        Raises:
            ManifestError: If it is anything else.
        """
        value = self.raw(name)
        if not isinstance(value, str) or not value.strip():
            raise self.fault(name, f"must be text, not {_kind(value)}")
        if not value.isprintable():  # these texts reach terminals, and some come from files of others
            raise self.fault(name, f"is {value!r}, which is not one line of printable text")
        if known is not None and value not in known:
            raise self.fault(name, f"is {value!r}{did_you_mean(value, known)} (known: {', '.join(sorted(known))})")
        if pattern is not None and re.fullmatch(pattern, value) is None:
            raise self.fault(name, f"is {value!r}, which does not match {pattern}")
        return value

    def optional_text(self, name: str, *, pattern: str | None = None) -> str | None:
        """Return a string, or None where the field is absent."""
        return self.text(name, pattern=pattern) if self.has(name) else None

    def integer(self, name: str, *, low: int, high: int) -> int:
        """Return a whole number within [low, high]."""
        value = self.raw(name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.fault(name, f"must be a whole number, not {_kind(value)}")
        if not low <= value <= high:
            raise self.fault(name, f"is {value}, outside {low}..{high}")
        return value

    def optional_integer(self, name: str, *, low: int, high: int) -> int | None:
        """Return a whole number, or None where the field is absent."""
        return self.integer(name, low=low, high=high) if self.has(name) else None

    def number(self, name: str) -> float:
        """Return a finite number."""
        return self._finite(name, self.raw(name))

    def optional_number(self, name: str) -> float | None:
        """Return a finite number, or None where the field is absent."""
        return self.number(name) if self.has(name) else None

    def optional_range(self, name: str, *, low: float, high: float) -> tuple[float, float] | None:
        """Return two rising numbers within [low, high], or None where the field is absent."""
        if not self.has(name):
            return None
        values = self.items(name)
        if len(values) != 2:
            raise self.fault(name, f"must hold two numbers, not {len(values)}")
        first, last = (self._finite(name, value) for value in values)
        if not low <= first <= last <= high:
            raise self.fault(name, f"is [{first:g}, {last:g}], which is not a rising range within {low:g}..{high:g}")
        return first, last

    def flag(self, name: str) -> bool:
        """Return true or false; false where the field is absent."""
        value = self._values.get(name, False)
        if not isinstance(value, bool):
            raise self.fault(name, f"must be true or false, not {_kind(value)}")
        return value

    def items(self, name: str) -> list[Any]:
        """Return a list; an empty one where the field is absent."""
        if not self.has(name):
            return []
        value = self.raw(name)
        if not isinstance(value, list):
            raise self.fault(name, f"must be a list, not {_kind(value)}")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of strings that are not blank; an empty one where the field is absent."""
        values = self.items(name)
        for value in values:
            if not isinstance(value, str) or not value.strip():
                raise self.fault(name, f"must hold text only, not {_kind(value)}")
        return tuple(values)

    def mapping(self, name: str) -> Mapping[str, Any]:
        """Return an object, unread."""
        value = self.raw(name)
        if not isinstance(value, dict):
            raise self.fault(name, f"must be an object, not {_kind(value)}")
        return value

    def _finite(self, name: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.fault(name, f"must be a number, not {_kind(value)}")
        if not math.isfinite(value):
            raise self.fault(name, f"must be finite, not {value}")
        return float(value)


def _kind(value: object) -> str:
    """Say in JSON's words what a value is."""
    if isinstance(value, str):
        return "text" if value.strip() else "blank text"
    kinds = {dict: "an object", list: "a list", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), f"the number {value}")


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        doubled = next(name for name in names if names.count(name) > 1)
        raise ManifestError(f"field {doubled!r} is given twice")
    return values


def _no_constant(name: str) -> NoReturn:
    raise ManifestError(f"{name} is not a JSON number")
