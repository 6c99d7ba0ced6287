"""Generated requests to start and end test runs: each is valid or a documented error."""

import json

import hypothesis
import pytest
from hypothesis import strategies as st

from metrics_stream.core.errors import BodyError, RunError, RunStorageError
from metrics_stream.core.formats.runs import Start, read_start, read_stop
from metrics_stream.runs import lifecycle
from tests.support.submissions import VALUES

pytestmark = pytest.mark.django_db(transaction=True)


BODIES = (
    st.fixed_dictionaries({"name": st.just("soak") | VALUES}, optional=dict.fromkeys(["sources", "tags"], VALUES))
    | st.fixed_dictionaries({}, optional=dict.fromkeys(["name", "target_tps", "notes", "status", "note"], VALUES))
    | VALUES
).map(lambda value: json.dumps(value).encode()) | st.binary(max_size=50)


@hypothesis.settings(
    max_examples=200, deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
@hypothesis.given(body=BODIES)
def test_every_body_is_valid_or_a_documented_error(body):
    for read in (lambda: read_start(body, ()), lambda: read_stop(body)):
        try:
            wish = read()
        except BodyError as bad:
            assert str(bad)
            continue
        if isinstance(wish, Start):
            try:
                lifecycle.stop(
                    lifecycle.start(wish.name, sources=wish.sources, target_tps=wish.target_tps, tags=wish.tags)
                )
            except RunError as error:
                assert not isinstance(error, RunStorageError), error
