"""The lookups of visible test runs, for pages and for the API."""

from __future__ import annotations

import json

from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast
from django.http import Http404

from metrics_stream.access.grants import Access
from metrics_stream.access.visibility import visible_runs
from metrics_stream.models import TestRun

# Further words are ignored: each is a condition of the query.
_MOST_WORDS = 8


def find_run(access: Access, slug: str) -> TestRun:
    """Return the visible run with this slug, or raise Http404."""
    run = visible_runs(access).filter(slug=slug).first()
    if run is None:
        raise Http404(f"There is no run {slug!r}.")
    return run


def is_whole(run: TestRun) -> bool:
    """Return whether the metrics of a run still exist; in the end, retention keeps only its series."""
    return not run.metrics_recorded or run.metric_chunks.exists()


def search(access: Access, query: str) -> QuerySet[TestRun]:
    """Return the runs that have every word of `query` in their name, slug, test, tags, parameters or notes.

    A word such as `commit=3f2a9c1` finds the runs with this parameter, whose text begins so.
    """
    found = visible_runs(access).annotate(
        tags_text=Cast("tags", TextField()), parameters_text=Cast("parameters", TextField())
    )
    for word in query.replace("\x00", "").split()[:_MOST_WORDS]:
        condition = Q()
        for column in ("name", "slug", "test", "notes"):
            condition |= Q(**{f"{column}__icontains": word})
        # Brackets, braces, commas and colons stand between tags and parameters.
        for form in _json_forms(word) if word.strip("[]{},:") else ():
            condition |= Q(tags_text__icontains=form) | Q(parameters_text__icontains=form)
        name, is_pair, value = word.partition("=")
        for form in _json_forms(name) if is_pair else ():
            for start in (*(f'"{text}' for text in _json_forms(value)), value):
                condition |= Q(parameters_text__icontains=f'"{form}": {start}')
        found = found.filter(condition)
    return found


def _json_forms(text: str) -> set[str]:
    """Return a text as it stands in JSON: databases keep letters beyond ASCII escaped or not."""
    return {json.dumps(text, ensure_ascii=escaped)[1:-1] for escaped in (True, False)}
