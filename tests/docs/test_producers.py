"""docs/producers.md lists the answers that programs get over HTTP."""

from metrics_stream.api import requests
from metrics_stream.core.formats import native, runs
from tests.support.documents import API, PRODUCERS, named, names, one_line, table


def test_every_answer_to_those_who_publish():
    assert named(table(PRODUCERS, "Over HTTP", "code")) == [error.value for error in native.ItemErrorCode]
    rows = [*table(PRODUCERS, "Over HTTP", "error"), *table(PRODUCERS, "Test runs over HTTP", "error")]
    rows += table(API, "Errors", "error")
    assert {names(row["error"])[0]: int(row["status"]) for row in rows} == requests.STATUSES
    assert named(rows) == [error.value for error in native.RequestErrorCode]
    assert named(table(PRODUCERS, "Over HTTP", "key")) == list(native.KEYS)
    rows = table(PRODUCERS, "Test runs over HTTP", "address")
    asked = [names(row["keys of the body"]) for row in rows]
    assert asked == [list(runs.START_KEYS), [], list(runs.STOP_KEYS), list(runs.PHASE_KEYS), []]
    text = one_line(PRODUCERS)
    assert f"at most {native.MAX_DEPTH} deep" in text
    assert f"takes more than {requests.BODY_SECONDS:g} s" in text
