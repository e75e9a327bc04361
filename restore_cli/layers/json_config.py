"""Configurations as JSON and back, for every network alike.

Stage 5, RUN. No torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, ClassVar, Self, cast


class JsonConfig:
    """Give a frozen dataclass whose fields all have defaults, of numbers, texts and tuples of them, a JSON form.

    Attributes:
        NETWORK: Name of the network, for messages.
        LATER: Fields that came when files had been written already; where one is absent its default holds.
    """

    NETWORK: ClassVar[str]
    LATER: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Build from a JSON object as `to_json` returns it.

        Raises:
            ValueError: If a field is unknown, missing, of the wrong type or impossible.
        """
        defaults = {field.name: field.default for field in fields(cast("Any", cls))}
        unknown, missing = sorted(values.keys() - defaults), sorted(defaults.keys() - values - cls.LATER)
        if unknown or missing:
            known = ", ".join(sorted(defaults))
            msg = f"{cls.NETWORK}: unknown fields {unknown}, missing fields {missing}; known: {known}"
            raise ValueError(msg)
        given = {name: default for name, default in defaults.items() if name in values}
        return cls(**{name: cls._field(name, values[name], default) for name, default in given.items()})

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that `from_json` takes."""
        return {name: _listed(value) for name, value in asdict(cast("Any", self)).items()}

    @classmethod
    def _field(cls, name: str, value: Any, default: Any) -> Any:
        """Return a JSON value as the field's type, which is the type of its default."""
        if isinstance(default, tuple) and isinstance(value, list | tuple):
            return tuple(cls._field(name, item, default[0]) for item in value)
        if isinstance(default, float) and type(value) is int:
            return float(value)
        if type(value) is not type(default):
            msg = f"{cls.NETWORK}: {name} must be {type(default).__name__}, not {value!r}"
            raise ValueError(msg)
        return value


def _listed(value: Any) -> Any:
    return [_listed(item) for item in value] if isinstance(value, tuple) else value
