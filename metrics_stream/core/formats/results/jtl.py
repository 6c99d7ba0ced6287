"""JMeter's results: a JTL file as CSV or as XML, with one row or element for each request."""

from __future__ import annotations

from xml.parsers import expat

from metrics_stream.core.errors import ResultFileError
from metrics_stream.core.formats.results.figures import Results
from metrics_stream.core.formats.results.file import ResultFile, quote_value
from metrics_stream.core.formats.results.numbers import need, read_number
from metrics_stream.core.formats.results.samples import Samples

NAME = "jtl"
EXPECTED = "JMeter's JTL file, as CSV or XML"

_COLUMNS = ("timeStamp", "elapsed")
# The names of the attributes in XML that have the meaning of the columns, and those before JMeter 2.1.
_ATTRIBUTES = {
    "ts": "timeStamp",
    "t": "elapsed",
    "lb": "label",
    "s": "success",
    "rm": "responseMessage",
    "time": "elapsed",
}
_ELEMENTS = frozenset({"sample", "httpSample", "sampleResult"})
_MAX_DEPTH = 100

# With this message JMeter marks what sums up several requests.
_TRANSACTION = "Number of samples in transaction"

RULES = (
    "Failed are requests that JMeter marks as not successful.",
    "The duration is that from the start of the first request to the end of the last.",
    "A transaction that sums up other requests of the file does not count beside them; neither do embedded requests.",
    "JMeter measures in whole ms. Percentiles are those with the index floor(share * count), counted from 0; JMeter's"
    " report interpolates.",
)


def recognizes(file: ResultFile) -> bool:
    """Return whether a file is one of these."""
    return _is_xml(file) or all(name in file.first_line for name in _COLUMNS)


def _is_xml(file: ResultFile) -> bool:
    return file.first_line.lstrip().startswith("<") and "<testResults" in file.head


def read(file: ResultFile) -> Results:
    """Return the figures of a file; raise ResultFileError."""
    reader = _Reader()
    if file.first_line.lstrip().startswith("<"):
        _read_xml(file, reader)
    else:
        for row in file.table(_COLUMNS):
            reader.add(row)
    return reader.results()


class _Reader:
    """Counts requests and transactions apart: a file that has only transactions is one of transactions."""

    def __init__(self) -> None:
        self._requests = Samples(within_ms=0.5)
        self._transactions = Samples(within_ms=0.5)

    def add(self, row: dict[str, str]) -> None:
        """Count one row; it has the names of the columns."""
        started_ms, elapsed_ms = (_milliseconds(row, name) for name in _COLUMNS)
        success = row.get("success", "true").strip().lower()
        if success not in ("true", "false"):
            raise quote_value("success", row["success"], "true or false")
        is_transaction = row.get("responseMessage", "").startswith(_TRANSACTION)
        samples = self._transactions if is_transaction else self._requests
        samples.add(started_ms / 1000, elapsed_ms, failed=success == "false", name=row.get("label", ""))

    def results(self) -> Results:
        """Return the figures of what was counted."""
        samples = self._requests if len(self._requests) else self._transactions
        return Results(
            format=NAME,
            totals=samples.totals(),
            by_name=samples.by_name(),
            names_left_out=samples.names_left_out,
            started_at=samples.started_at,
            ended_at=samples.ended_at,
            intervals=samples.intervals(),
            rules=RULES,
        )


def _milliseconds(row: dict[str, str], name: str) -> float:
    text = row.get(name)
    try:
        return float(need(read_number(text, name), name))
    except ResultFileError as error:
        if name == "timeStamp" and text:
            allowed = "milliseconds since 1970 (jmeter.save.saveservice.timestamp_format=ms)"
            raise quote_value(name, text, allowed) from error
        raise


def _read_xml(file: ResultFile, reader: _Reader) -> None:
    """Count the elements below the outermost one; what is inside of them is a part of them."""
    depth = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth == 1 and name != "testResults":
            raise ResultFileError(f"the outermost element is {name[:60]!r}; allowed: 'testResults'")
        if depth > _MAX_DEPTH:
            raise ResultFileError(f"elements are nested deeper than {_MAX_DEPTH}")
        if depth == 2 and name in _ELEMENTS:
            reader.add({_ATTRIBUTES.get(key, key): value for key, value in attributes.items()})

    def end(_: str) -> None:
        nonlocal depth
        depth -= 1

    def refuse_doctype(*_: object) -> None:
        # Entities are declared here and nowhere else, so no text can grow and no other file is read.
        raise ResultFileError("the XML has a document type; allowed: none, as JMeter writes it")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.StartDoctypeDeclHandler = refuse_doctype
    try:
        parser.Parse(file.marked, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise ResultFileError(f"the file is not XML: {error}") from error
