"""Read a result file of any load tool: find out its format, and let the module of the tool read it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from metrics_stream.core.errors import ResultFileError
from metrics_stream.core.formats.results import ab, artillery, autocannon, hey, jtl, k6, locust, siege, wrk
from metrics_stream.core.formats.results.figures import Results
from metrics_stream.core.formats.results.file import ResultFile
from metrics_stream.core.formatting import quote


class Format(NamedTuple):
    """The format of a tool."""

    expected: str
    """What a file of it is, for people."""
    recognizes: Callable[[ResultFile], bool]
    read: Callable[[ResultFile], Results]


FORMATS: dict[str, Format] = {
    module.NAME: Format(module.EXPECTED, module.recognizes, module.read)
    for module in (locust, jtl, siege, hey, wrk, ab, k6, artillery, autocannon)
}
"""The formats by their names, in the order in which a file is tried."""


def read_results(content: bytes, form: str | None = None) -> Results:
    """Return what a result file says; raise ResultFileError. Without `form` the format is found out."""
    if form is not None and form not in FORMATS:
        raise ResultFileError(f"unknown format {quote(form)}; allowed: {', '.join(FORMATS)}")
    file = ResultFile(content)
    known = _detect(file) if form is None else FORMATS[form]
    return known.read(file)


def _detect(file: ResultFile) -> Format:
    for known in FORMATS.values():
        if known.recognizes(file):
            return known
    kinds = "; ".join(f"{name}: {known.expected}" for name, known in FORMATS.items())
    raise ResultFileError(f"the file is of no known format; it begins with {quote(file.first_line)}. Allowed: {kinds}")
