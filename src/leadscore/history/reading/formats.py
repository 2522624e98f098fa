"""What a file is that is not what it should be, by its first bytes and its name."""

from __future__ import annotations

import codecs
import csv
import re
import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

HEAD = 1 << 16
RUNS = 1_000
WORKBOOK = "an Excel workbook"
OLD_WORKBOOK = "an old Excel workbook (XLS), or one with a password"
SHEET = "an OpenDocument workbook (ODS)"
# By the first bytes of a file.
_MAGIC = {
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": OLD_WORKBOOK,
    b"\x1f\x8b": "compressed by gzip",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ\0": "compressed by xz",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"%PDF": "a PDF",
    b"PAR1": "Parquet",
}
_MARKUP = re.compile(rb"\s*<(\?xml|!doctype|html|table)", re.IGNORECASE)
_JSON = re.compile(rb'\s*(\{\s*["}]|\[\s*[\[{])')
# By the end of a file's name.
NAMED = {
    **dict.fromkeys((".xlsx", ".xlsm", ".xlsb"), WORKBOOK),
    ".xls": "an old Excel workbook",
    ".ods": SHEET,
    ".numbers": "a workbook of Numbers",
    **dict.fromkeys((".gz", ".bz2", ".xz", ".zst", ".zip", ".7z"), "compressed"),
    **dict.fromkeys((".tsv", ".tab", ".txt"), "text, perhaps separated by tabs"),
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), "JSON"),
    ".xml": "XML",
    ".html": "HTML",
    ".avro": "Avro",
    ".orc": "ORC",
    **dict.fromkeys((".feather", ".arrow"), "Arrow"),
}
READ = (".csv", ".parquet")

_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_BOMS = {
    codecs.BOM_UTF32_LE: ("UTF-32", "utf-32"),
    codecs.BOM_UTF32_BE: ("UTF-32", "utf-32"),
    codecs.BOM_UTF16_LE: ("UTF-16", "utf-16"),
    codecs.BOM_UTF16_BE: ("UTF-16", "utf-16"),
}


def head_of(path: Path) -> bytes:
    """The first bytes of a file."""
    with path.open("rb") as file:
        return file.read(HEAD)


def binary_format(path: Path) -> str | None:
    """What a file is, where its first bytes say that it is not separated text."""
    head = head_of(path)
    if head.startswith(b"PK\3\4"):
        return _zipped(path)
    if _MARKUP.match(head):
        return "an HTML or XML document, whatever its name"
    if _JSON.match(head):
        return "JSON"
    return next((what for magic, what in _MAGIC.items() if head.startswith(magic)), None)


def text_format(path: Path, needed: Sequence[str]) -> str | None:
    """How separated text is written, where not in UTF-8 or not with commas.

    Parameters
    ----------
    needed : sequence of str
        Columns that the header should have: a mark that gives one of them separates.
    """
    head = head_of(path)
    encoding, text = _decoded(head)
    separator = _separator(text, needed)
    if encoding is None and separator is None:
        return None
    return " ".join(filter(None, (encoding, "text", separator)))


def likely_encoding(block: bytes) -> str:
    """Which encoding bytes that are not UTF-8 look like."""
    runs = re.findall(rb"[\x80-\xff]+", block)[:RUNS]
    letters = b"".join(runs)
    if len(letters) < 2 * len(runs):
        return "Windows-1252 (Western European) or the like"
    if sum(byte >= 0xC0 for byte in letters) > 0.9 * len(letters):
        return "Windows-1251 (Cyrillic) or the like"
    return "an East Asian encoding, such as GBK or Shift JIS"


def files_like(folder: Path, table: str, others: Sequence[str]) -> list[Path]:
    """Files whose names begin with that of a table and that may hold it, but for the files of ``others``."""
    return [
        path
        for path in sorted(folder.iterdir())
        if path.name.casefold().startswith(table)
        and path.name not in others
        and path.is_file()
        and (is_read(path) or format_by_name(path))
    ]


def is_read(path: Path) -> bool:
    """Whether a file's name says that it is CSV or Parquet."""
    return path.suffix.lower() in READ


def format_by_name(path: Path) -> str | None:
    """What a file is by its name, where that is neither CSV nor Parquet."""
    return NAMED.get(path.suffix.lower())


def _zipped(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        names = []
    if any(name.startswith("xl/") for name in names):
        return WORKBOOK
    return SHEET if "mimetype" in names and "content.xml" in names else "a ZIP archive"


def _decoded(head: bytes) -> tuple[str | None, str]:
    """The name of an encoding of several bytes a letter, if it is one, and the text."""
    for mark, (name, codec) in _BOMS.items():
        if head.startswith(mark):
            return name, head[: len(head) // 4 * 4].decode(codec, errors="ignore")
    for first, codec in ((1, "utf-16-le"), (0, "utf-16-be")):
        # Without a mark: every second byte of most letters is 0.
        if len(head) > 2 and head[first::2].count(0) > 0.7 * (len(head) // 2):
            return "UTF-16", head.decode(codec, errors="ignore")
    return None, head.decode("utf-8-sig", errors="replace")


def _separator(text: str, needed: Sequence[str]) -> str | None:
    line = next((line for line in text.splitlines() if line.strip()), "")
    if line.lower().startswith("sep="):
        return f"with a first line {line.strip()!r}, which is no header"
    columns = {what: _split(line, mark) for mark, what in _SEPARATORS.items()}
    what = max(columns, key=lambda name: (len(set(columns[name]) & set(needed)), len(columns[name])))
    is_it = set(columns[what]) & set(needed) or ("," not in line and len(columns[what]) > 1)
    return f"separated by {what}" if is_it else None


def _split(line: str, separator: str) -> list[str]:
    return next(csv.reader([line], delimiter=separator), [])
