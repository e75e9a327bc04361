"""The version, in a module of its own so that lower layers can say it without reaching for the public API."""

__version__ = "0.1.0"
