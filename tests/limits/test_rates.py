"""The rates of a token hold for all server processes together."""

import pytest

from metrics_stream.api.programs import PublishingPrograms
from metrics_stream.conf import get_settings
from metrics_stream.core.errors import RequestRefusedError
from tests.support.access import make_token

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.valkey]


async def test_two_processes_take_from_the_same_buckets(valkey_layer, settings):
    settings.METRICS_STREAM = {
        "GROUP_PREFIX": "rates",
        "INGEST_REQUESTS_PER_SECOND": 0.5,
        "INGEST_METRICS_PER_SECOND": 1,
    }
    _, text = await make_token(scopes=["publish"])
    _, other = await make_token(name="other", scopes=["publish"])
    one, two = PublishingPrograms(get_settings()), PublishingPrograms(get_settings())

    async def publish(process, count, token=text):
        program = await process.admit("publish", f"Bearer {token}", "10.0.0.1")
        try:
            await process.take_metrics(program, count)
        except RequestRefusedError as error:
            return error.error
        return None

    assert [await publish(one, 4), await publish(two, 4), await publish(one, 4)] == [None, None, "too_many_metrics"]
    assert [await publish(two, 0), await publish(one, 0), await publish(two, 0)] == [None, None, None]
    assert await publish(one, 0) == "too_many_requests"
    assert await publish(one, 4, other) is None
