"""Every error a user can meet, as one tree: the exit code and the next step travel with the message.

Stage: all of them. Lower layers raise, `restore_cli.cli.app.main` turns the error into one line and an exit code, and
nothing else in the package decides about exit codes. `ValueError` stays for a programmer's bad argument.

    RestoreError                 1
    +-- UsageError               2   the command line asks for something that does not exist or contradicts itself
    +-- ImageError               1   one image cannot be read, restored or written; the batch goes on
    |   +-- DecodeError              its bytes are not an image we read
    |   +-- EncodeError              the result cannot be written in that format
    |   +-- TargetExistsError          the output is there already and may not be replaced
    +-- WeightsError             3   weights are missing, unreachable, damaged or not what they claim
    |   +-- ManifestError            weights_manifest.json (or an entry) breaks its schema
    |   +-- DownloadError            the network or the server failed us
    |   +-- DigestError              bytes differ from the published digest
    +-- DeviceError              4   the device cannot do the work
    +-- StorageError             4   the output's storage is full, read-only or gone
    +-- TrainingError            1   training cannot start or had to stop (a NaN loss, unusable data)
"""

from __future__ import annotations


class RestoreError(Exception):
    """Report a fault of the user's world in one line.

    Args:
        message: What happened and to which file, without a final stop.
        hint: What to do next, an imperative phrase; None when the message says it already.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}; {self.hint}"


class UsageError(RestoreError):
    """Reject a request that does not exist or contradicts itself."""

    exit_code = 2


class ImageError(RestoreError):
    """Reject one image; the others go on."""


class DecodeError(ImageError):
    """Reject bytes that are not an image we read."""


class EncodeError(ImageError):
    """Reject a result that the wanted format cannot hold."""


class TargetExistsError(ImageError):
    """Refuse to replace an output that is there already."""


class WeightsError(RestoreError):
    """Reject weights that are missing, unreachable, damaged or not what they claim."""

    exit_code = 3


class ManifestError(WeightsError):
    """Reject a manifest that breaks its schema."""


class DownloadError(WeightsError):
    """Report that weights could not be fetched."""


class DigestError(WeightsError):
    """Reject bytes that differ from the published digest."""


class DeviceError(RestoreError):
    """Report a device that cannot do the work."""

    exit_code = 4


class StorageError(RestoreError):
    """Report output storage that is full, read-only or gone."""

    exit_code = 4


class TrainingError(RestoreError):
    """Report that training cannot start or had to stop."""
