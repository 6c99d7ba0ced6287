"""All doors count guesses together, and a valid token passes at each of them."""

import pytest
from asgiref.sync import sync_to_async
from django.test import Client as Browser

from metrics_stream.bus.bus import declare_server
from metrics_stream.models.access import prefixes
from metrics_stream.runtime.runtime import stop_runtime
from tests.support.access import bearer, make_token, socket
from tests.support.api import METRICS_PATH

pytestmark = pytest.mark.django_db(transaction=True)

WRONG = "mst_0000000{}_" + "0" * 64


def page(text, address="10.0.0.1"):
    """Return the status of a page that is asked for with a token."""
    return Browser().get("/runs/", headers={"authorization": f"Bearer {text}"}, REMOTE_ADDR=address).status_code


def api(text, address="10.0.0.1"):
    """Return the status of a request that publishes."""
    headers = {"authorization": f"Bearer {text}"}
    answer = Browser().post(METRICS_PATH, "[]", "application/json", headers=headers, REMOTE_ADDR=address)
    return answer.status_code


async def knock(text):
    """Return the error with which a socket is closed, None for a welcome."""
    async with socket(bearer(text)) as client:
        message = await client.hear()
        return message.get("code")


async def test_every_door_counts_the_same_guesses(settings):
    settings.ANONYMOUS_READ = False
    settings.METRICS_STREAM = {"INGEST_GUESSES_PER_MINUTE": 3}
    declare_server()
    try:
        _, text = await make_token(scopes=["subscribe", "publish"])
        assert await sync_to_async(page)(text) == 200
        assert await sync_to_async(page)(WRONG.format(1)) == 401
        assert await knock(WRONG.format(2)) == "forbidden"
        await sync_to_async(Browser().get)("/share/nothing.signed/", REMOTE_ADDR="10.0.0.1")
        assert await sync_to_async(page)(WRONG.format(3)) == 429
        assert await knock(WRONG.format(4)) == "too_many_guesses"
        assert await sync_to_async(api)(WRONG.format(5)) == 429
        assert await sync_to_async(page)(WRONG.format(6), "10.0.0.2") == 401
        # The token was valid before, so the guesses of its neighbours do not concern it.
        assert await sync_to_async(page)(text) == 200
        assert await knock(text) is None
        assert await sync_to_async(api)(text) == 202
        # Tokens that were never seen before, one at each door.
        tokens = [(await make_token(name=f"new {n}", scopes=["subscribe", "publish"]))[1] for n in range(3)]
        prefixes.forget()
        assert await sync_to_async(page)(tokens[0]) == 200
        assert await knock(tokens[1]) is None
        assert await sync_to_async(api)(tokens[2]) == 202
        assert await sync_to_async(page)(f"{tokens[0][:-1]}g") == 401
        assert await sync_to_async(page)(WRONG.format(7)) == 429
    finally:
        await stop_runtime()
