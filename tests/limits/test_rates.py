"""The rates of a token hold for all server processes together."""

import pytest

from metrics_stream.api.programs import PublishingPrograms
from metrics_stream.conf import get_settings
from metrics_stream.core.errors import RequestRefusedError
from tests.support.access import make_token

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.valkey]


@pytest.mark.parametrize("per_second", [0.1, 0.03])
async def test_a_new_token_may_send_its_first_request_however_low_the_rates_are(valkey_layer, settings, per_second):
    rates = dict.fromkeys(("INGEST_REQUESTS_PER_SECOND", "INGEST_METRICS_PER_SECOND"), per_second)
    settings.METRICS_STREAM = {"GROUP_PREFIX": f"low{per_second}", **rates}
    _, text = await make_token(scopes=["publish"])
    process = PublishingPrograms(get_settings())
    program = await process.admit("publish", f"Bearer {text}", "10.0.0.1")
    await process.take_metrics(program, 5)
    with pytest.raises(RequestRefusedError, match=f"the token may send {per_second:g} requests a second on average"):
        await process.admit("publish", f"Bearer {text}", "10.0.0.1")


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
