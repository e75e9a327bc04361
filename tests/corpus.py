"""Foreign image files through the program, and what must hold of each of them.

    python -m tests.corpus photos/ more/ [--to png --to webp] [--work folder]

The files of the folders, of whatever kind, are restored in one batch for each format, beside the files made for other
tests; the program is the real one, its network a stand-in. Of each file must hold: one line of JSON; no traceback, and
an exit code that fits; a refusal in one line, of the right file; a result that Pillow opens, and no other file; nothing
that cost a warning passes `--strict`. Where ExifTool is installed, it must read in the result what it read in the
source, unless a warning names what is gone, and no claim of parts that are gone. Each violation is a line, and ends
the run with 1.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image, UnidentifiedImageError

from restore_cli.imaging.formats import RAW_SUFFIXES, SUFFIXES
from tests.faults.batch import Child, Run, leftovers, stand_in
from tests.fuzz import samples

OWN = "own"
FORMATS = (OWN, "jpeg", "png", "webp", "tiff")
MOST_PIXELS = 1_500_000
# What lies among images under other names, and is to be refused by its name.
_FOREIGN_SUFFIXES = {
    ".psd",
    ".eps",
    ".ico",
    ".cur",
    ".svg",
    ".pdf",
    ".jp2",
    ".exr",
    ".hdr",
    ".tga",
    ".pcx",
    ".dcm",
    ".mov",
}

# Groups of ExifTool's tags that a format keeps, as the program promises.
_EXIF = ("IFD0", "ExifIFD", "GPS", "InteropIFD")
_KEPT_FROM_ALL = ("XMP-", "IPTC")
_COMMENT, _COMMENTS = "File:Comment", ("PNG:Comment", "PNG-tEXt:Comment", "PNG-iTXt:Comment")
# What is said of how samples were stored, or is true of another file: each may change.
_MAY_CHANGE = re.compile(
    r"(IFD0|ExifIFD|InteropIFD):(Orientation|ImageWidth|ImageHeight|ExifImage(Width|Height)|BitsPerSample|Compression"
    r"|PhotometricInterpretation|Strip\w+|SamplesPerPixel|RowsPerStrip|PlanarConfiguration|Predictor|Tile\w+|FillOrder"
    r"|ColorMap|SubfileType|OldSubfileType|ExtraSamples|Matteing|SampleFormat|JPEG\w+|YCbCr\w+|ReferenceBlackWhite"
    r"|XResolution|YResolution|ResolutionUnit|(Thumbnail|PreviewImage|OtherImage)\w*|T[46]Options|PageNumber"
    r"|TransferFunction|WhitePoint|PrimaryChromaticities|InkSet|S?(Min|Max)SampleValue|OffsetSchema|Padding)"
    r"|XMP-tiff:\w+|XMP-x:XMPToolkit|XMP-exif:ExifImage\w+|.*(Offset|ImageStart)|.*:Warning"
)
_CLAIMS = re.compile(
    r"XMP-(hdrgm|HDRGainMap|GContainer|GDepth|GImage|GAudio|GFocus|Device)|MotionPhoto|MicroVideo|HasExtendedXMP|^MPF"
)
# Words of a warning, and the groups of tags that it accounts for.
_ACCOUNTS = (
    ("EXIF", (*_EXIF, "maker")),
    ("XMP", ("XMP-",)),
    ("IPTC", ("IPTC",)),
    ("texts", (_COMMENT,)),
    ("comment", (_COMMENT,)),
    ("only the first", ("IFD", "SubIFD")),
    ("description", ("IFD0:ImageDescription",)),
    ("TIFF tag", ("IFD0:",)),
    ("data of GDAL", ("IFD0:GDAL",)),
    ("data of Wang", ("IFD0:Wang",)),
    ("georeferencing", ("IFD0:PixelScale", "IFD0:ModelT", "IFD0:IntergraphMatrix")),
    ("data of its maker", ("maker",)),
    ("APP0 data", ("maker",)),
    ("APP10 data", (_COMMENT, "IPTC", "maker")),
    ("data behind the image", ("IPTC", "maker")),
)
# ExifTool takes every note of Casio's in a RIFF file for one that it would lie out otherwise, as in its AVI films.
_READ_OTHERWISE = re.compile(r"maker Casio:\w+")
# How ExifTool marks further values of a tag.
_COPY = re.compile(r"\bCopy\d+:")
# No faults of a result, so `--strict` takes them.
_ADVICE = re.compile(r"its result hardly differs|it is a JPEG of quality")


Tags = dict[str, list[Any]]
"""The values of each tag, by group and name."""


@dataclass
class Report:
    """What was found, a line each, and how many files came to which end."""

    wrong: list[str] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)

    def expect(self, holds: bool, what: str) -> None:
        """Note what is wrong unless it holds."""
        if not holds:
            self.wrong.append(what)


def gather(folders: Sequence[Path], place: Path) -> None:
    """Copy foreign files, and those made for other tests, under names that say where they come from."""
    place.mkdir(parents=True)
    for number, path in enumerate(path for folder in folders for path in sorted(folder.rglob("*"))):
        if _may_be_image(path):
            shutil.copyfile(path, place / f"{number:05}_{path.name[-80:]}")
    for number, (name, data) in enumerate(samples().items()):
        (place / f"made{number:02}_{name}").write_bytes(data)


def _may_be_image(path: Path) -> bool:
    known = path.suffix.lower() in SUFFIXES | RAW_SUFFIXES | _FOREIGN_SUFFIXES
    return known and path.is_file() and not path.is_symlink() and not path.name.startswith(".")


class Corpus:
    """A folder of files and the program.

    Args:
        root: Where to work; its folder `in` holds the files.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = sorted((root / "in").iterdir())
        self.report = Report()
        self._weights = stand_in(root)
        self._tags = tags_of(root / "in")

    def check(self, format_name: str) -> None:
        """Restore all files into one format, and check what must hold of each."""
        target = self.root / f"out_{format_name}"
        ran = self._run(target, *(() if format_name == OWN else ("--format", format_name)))
        records = {Path(record["source"]).name: record for record in ran.records if record["type"] == "image"}
        report = self.report
        failed = any(record["status"] != "ok" for record in records.values())
        report.expect(ran.code == failed, f"{format_name}: ended with {ran.code}: {ran.errors[-300:]}")
        report.expect(
            "Traceback" not in ran.errors and "internal fault" not in ran.errors, f"{format_name}: a traceback"
        )
        report.expect(not leftovers(target), f"{format_name}: left over: {leftovers(target)}")
        written = {Path(record["target"]).name for record in records.values() if record["status"] == "ok"}
        there = {path.name for path in target.glob("[!.]*")}
        report.expect(written == there, f"{format_name}: files that nobody named: {written ^ there}")
        tags = tags_of(target)
        for path in self.files:
            where = f"{format_name}: {path.name}"
            record = records.get(path.name)
            if record is None:
                report.wrong.append(f"{where}: nothing was said of it")
                continue
            report.ends[record["status"]] += 1
            for line in self._violations(record, path, target, tags):
                report.wrong.append(f"{where}: {line}")

    def check_strict(self) -> None:
        """Restore all files again, warnings being errors: what passes must have cost none."""
        target = self.root / "out_strict"
        ran = self._run(target, "--strict")
        for record in ran.records:
            passed = record["type"] == "image" and record["status"] == "ok"
            self.report.expect(
                not (passed and [line for line in record["warnings"] if not _ADVICE.match(line)]),
                f"strict: {record.get('source')}: passed with {record.get('warnings')}",
            )

    def _run(self, target: Path, *options: object) -> Run:
        settings = ("--json", "--threads", 1, "--allow-damaged", "--max-pixels", MOST_PIXELS)
        command = ["denoise", "--weights", self._weights, *settings, *options, *self.files, "--output", target]
        return Child(command, self.root / "run").wait()

    def _violations(
        self, record: Mapping[str, Any], path: Path, target: Path, tags: Mapping[str, Tags]
    ) -> Iterator[str]:
        if record["status"] != "ok":
            said = str(record["error"])
            if len(said.splitlines()) != 1 or path.name not in said or re.search(r"Error\b|\bb'|\\x", said):
                yield f"refused in other than one line of ours: {said!r}"
            return
        name = Path(record["target"]).name
        try:
            _open(target / name)
        except Exception as error:  # noqa: BLE001 - readers raise nearly anything
            yield f"its result cannot be opened: {error!r}"
        warnings = " ".join(record["warnings"])
        before, after = self._tags.get(path.name, {}), tags.get(name, {})
        if record["status"] == "ok" and after:
            for claim in sorted(tag for tag in after if _CLAIMS.search(tag)):
                yield f"its result still claims {claim}"
            yield from _lost(before, after, warnings)


def _open(path: Path) -> None:
    """Read an image, as a TIFF by tifffile if Pillow knows none of its kind: 16 bits with transparency."""
    try:
        with Image.open(path) as image:
            image.load()
    except UnidentifiedImageError:
        if path.suffix != ".tif" or tifffile.TiffFile(path).pages[0].dtype != np.uint16:
            raise
        tifffile.imread(path)


def _lost(before: Tags, after: Tags, warnings: str) -> Iterator[str]:
    accounted = tuple(group for word, groups in _ACCOUNTS if word in warnings for group in groups)
    makers = {tag.partition(":")[0] for tag in before if tag.startswith("maker ")}
    for tag, values in before.items():
        group = tag.partition(":")[0]
        kept = group in _EXIF or group.startswith(_KEPT_FROM_ALL) or group in makers or tag == _COMMENT
        if not kept or _MAY_CHANGE.fullmatch(tag) or _CLAIMS.search(tag) or tag.startswith(accounted):
            continue
        if "Extended WEBP" in after.get("File:FileType", ()) and _READ_OTHERWISE.fullmatch(tag):
            continue
        found = [value for name in _names_of(tag) for value in after.get(name, ())]
        for value in values:
            if not found and str(value).strip():
                yield f"{tag} is lost in silence: {str(value)[:60]!r}"
            elif found and value not in found and not any(_is_as_read(str(value), str(other)) for other in found):
                yield f"{tag} was {str(value)[:60]!r}, is {str(found)[:60]!r}"


def _names_of(tag: str) -> tuple[str, ...]:
    """Return what ExifTool may call a tag of one file in another: of records behind empty ones, and of comments."""
    group, _, name = tag.partition(":")
    return (tag, *((f"IPTC:{name}",) if group.startswith("IPTC") else ()), *(_COMMENTS if tag == _COMMENT else ()))


def _is_as_read(before: str, after: str) -> bool:
    """Return whether a text is the other, apart from signs that ExifTool could not read and shows as question marks."""
    return re.fullmatch("[^?]+".join(map(re.escape, re.split("[?\ufffd]", before))), after, re.DOTALL) is not None


def tags_of(folder: Path) -> dict[str, Tags]:
    """Return what ExifTool reads in each file of a folder; nothing where it is not installed."""
    tool = shutil.which("exiftool")
    if tool is None:
        return {}
    command = [tool, "-json", "-G3:0:1:4", "-a", "-n", "-struct", "-api", "struct=1", folder, "-q", "-q"]
    done = subprocess.run(command, capture_output=True, check=False)
    found = json.loads(done.stdout.decode("utf-8", "replace") or "[]")
    read: dict[str, Tags] = {}
    for tags in found:
        values = read.setdefault(Path(tags.pop("SourceFile")).name, defaultdict(list))
        for tag, value in tags.items():
            values[_named(tag)].append(value)
    return read


def _named(tag: str) -> str:
    """Return ExifTool's "EXIF:IFD0:Make" as "IFD0:Make", tags of makers' notes marked as such.

    Where a family has one group, ExifTool names it once ("IPTC:City"). What it reads in a further image of the file
    keeps that image's name before it ("Doc1:EXIF:IFD0:Make").
    """
    tag = _COPY.sub("", tag)
    family, _, rest = tag.partition(":")
    if family == "MakerNotes":
        return f"maker {rest}"
    return rest if ":" in rest and not family.startswith("Doc") else tag


def main() -> int:
    """Gather the files, run them through the program, and tell what does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="*", metavar="FOLDER")
    parser.add_argument("--to", action="append", choices=FORMATS, help="write this format; all by default")
    parser.add_argument("--work", type=Path, help="an empty folder to work in, which stays")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="restore-corpus-") as folder:
        root = asked.work or Path(folder)
        gather(asked.folders, root / "in")
        corpus = Corpus(root)
        for format_name in asked.to or FORMATS:
            corpus.check(format_name)
        corpus.check_strict()
    for line in corpus.report.wrong:
        print(line)  # noqa: T201 - a program of its own
    counts = ", ".join(f"{count} {end}" for end, count in corpus.report.ends.most_common())
    print(f"{len(corpus.files)} files: {counts}; {len(corpus.report.wrong)} violations")  # noqa: T201
    return int(bool(corpus.report.wrong))


if __name__ == "__main__":
    sys.exit(main())
