"""The lookups of visible test runs for all pages."""

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
    """Return the runs that have every word of `query` in their name, slug, tags or notes."""
    found = visible_runs(access).annotate(tags_text=Cast("tags", TextField()))
    for word in query.replace("\x00", "").split()[:_MOST_WORDS]:
        # Databases keep tags as JSON, with letters beyond ASCII escaped or not. Brackets and commas stand between tags.
        forms = {json.dumps(word, ensure_ascii=escaped)[1:-1] for escaped in (True, False)} if word.strip("[],") else ()
        condition = Q(name__icontains=word) | Q(slug__icontains=word) | Q(notes__icontains=word)
        for form in forms:
            condition |= Q(tags_text__icontains=form)
        found = found.filter(condition)
    return found
