"""A result file that was not read yet: its bytes as text, lines, a table or a JSON document, within bounds.

A file is not trusted. Every reader raises ResultFileError with words, whatever the bytes are.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from metrics_stream.core.errors import BodyError, ResultFileError
from metrics_stream.core.formats.native import decode_json
from metrics_stream.core.formatting import quote, quote_some

MAX_BYTES = 256 * 1024 * 1024
"""The largest file: some two million rows of JMeter."""

MAX_NAMES = 5_000
"""So many names of requests are read from a file."""

MAX_NAME_LENGTH = 500

# A file of another kind is noticed within its beginning. Tables and texts have their names there.
_HEAD_BYTES = 65_536

# What spreadsheets and shells write: PowerShell's `>` writes UTF-16 with a mark.
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))

_DELIMITERS = (",", ";", "\t", "|")


class ResultFile:
    """The content of a file; raises ResultFileError if it is empty or larger than MAX_BYTES."""

    def __init__(self, content: bytes) -> None:
        if len(content) > MAX_BYTES:
            raise ResultFileError(f"the file has {len(content):,} bytes; allowed: at most {MAX_BYTES:,}")
        mark, self._encoding = next((pair for pair in _MARKS if content.startswith(pair[0])), (b"", "utf-8"))
        self.marked = content
        """The bytes as they came; `content` has no mark of an encoding."""
        self.content = content.removeprefix(mark)
        if not self.content.strip(b"\x00 \t\r\n"):
            raise ResultFileError("the file is empty")
        if self._encoding == "utf-8" and b"\x00" in content:
            raise ResultFileError("the file has bytes that are 0; allowed: text as UTF-8, or as UTF-16 with its mark")

    @cached_property
    def head(self) -> str:
        """The beginning as text."""
        return self.content[:_HEAD_BYTES].decode(self._encoding, errors="replace")

    @cached_property
    def first_line(self) -> str:
        """The first line that is not empty."""
        return next((line for line in self.head.splitlines() if line.strip()), "")

    @cached_property
    def text(self) -> str:
        """The whole text, for the short reports that tools print; raise ResultFileError if it is long."""
        if len(self.content) > 16 * _HEAD_BYTES:
            raise ResultFileError(f"the report has {len(self.content):,} bytes; allowed: {16 * _HEAD_BYTES:,}")
        return self.content.decode(self._encoding, errors="replace")

    @cached_property
    def document(self) -> Any:
        """The JSON document; raise ResultFileError if it is none."""
        content = self.content
        if self._encoding != "utf-8":
            content = content.decode(self._encoding, errors="replace").encode(errors="replace")
        try:
            return decode_json(content)
        except BodyError as error:
            raise ResultFileError(str(error).replace("the body", "the file", 1)) from error

    @cached_property
    def is_json(self) -> bool:
        """Whether the file looks like a JSON object."""
        return self.first_line.lstrip().startswith("{")

    def table(self, needed: Sequence[str]) -> Iterator[dict[str, str]]:
        """Yield the rows of a table with the columns `needed`, by the names in its first line.

        The delimiter is the one of the first line: a comma, semicolon, tab or bar.
        """
        rows = self._rows()
        _, header = next(rows, (0, []))
        names = [name.strip() for name in header]
        if missing := [name for name in needed if name not in names]:
            raise ResultFileError(
                f"the first line has no column {quote_some(missing)}; it has {quote_some(names) or 'nothing'}"
            )
        if len(set(names)) < len(names):
            raise ResultFileError("the first line names a column twice")
        for number, row in rows:
            if len(row) != len(names):
                complete = " (is the file complete?)" if len(row) < len(names) else ""
                raise ResultFileError(f"line {number:,} has {len(row)} columns, the first has {len(names)}{complete}")
            yield dict(zip(names, row, strict=True))

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        delimiter = max(_DELIMITERS, key=self.first_line.count)
        text = io.TextIOWrapper(io.BytesIO(self.content), self._encoding, errors="replace", newline="")
        # `strict`: a quote that is never closed would join the rest of the file to one value.
        reader = csv.reader(text, delimiter=delimiter, strict=True)
        try:
            for row in reader:
                if row:
                    yield reader.line_num, row
        except csv.Error as error:
            raise ResultFileError(f"line {reader.line_num:,} is no row of a table: {error}") from error


def tidy_name(name: str) -> str:
    """Return the name of a request as it is kept: cut to MAX_NAME_LENGTH, without what no database stores."""
    return name[:MAX_NAME_LENGTH].replace("\x00", "")


def incomplete(what: str) -> ResultFileError:
    """Return the error for a file that lacks what a complete one has."""
    return ResultFileError(f"{what}; is it complete?")


def quote_value(what: str, value: Any, allowed: str) -> ResultFileError:
    """Return the error for a value that is not allowed."""
    return ResultFileError(f"{what} is {quote(value)}; allowed: {allowed}")
