"""Two installations with one prefix on one Redis find each other."""

import pytest
import redis

from metrics_stream.conf import parse_settings
from metrics_stream.models.installation import Installation, installation_id
from metrics_stream.observation.faults import FaultKind, of_process
from metrics_stream.runtime import neighbours as neighbours_module
from metrics_stream.runtime.neighbours import Neighbours
from tests.support.history import redis_history


@pytest.fixture
def install():
    """Return a function that returns how an installation announces itself."""

    def make(installation, history, prefix="shared"):
        made = Neighbours(parse_settings({"GROUP_PREFIX": prefix}), history)
        return lambda: made.announce(history, installation)

    return make


@pytest.mark.valkey
async def test_another_installation_with_the_same_prefix_is_said_once(valkey_url, install, caplog, monkeypatch):
    history = redis_history(valkey_url)
    ours, theirs = install("one", history), install("two", history)
    await ours()
    assert of_process.current() == ()
    await theirs()
    of_process.clear()
    for _ in range(3):
        await ours()
    [fault] = of_process.current()
    assert (fault.kind, fault.message) == (
        FaultKind.INSTALLATION,
        "another installation uses the same Redis and the same GROUP_PREFIX 'shared': metrics and test runs get mixed "
        "up. Set another GROUP_PREFIX in one of them, or give it another Redis",
    )
    assert caplog.text.count("fault installation begins") == 2
    monkeypatch.setattr(neighbours_module, "GONE_SECONDS", 0.001)
    await ours()
    assert of_process.current() == ()
    await history.close()


@pytest.mark.valkey
async def test_servers_of_one_installation_and_other_prefixes_are_no_neighbours(valkey_url, install):
    history, other = redis_history(valkey_url), redis_history(valkey_url)
    for announce in (install("one", history), install("two", other)):
        for _ in range(2):
            await announce()
    assert of_process.current() == ()
    with redis.Redis.from_url(valkey_url) as client:
        # Those of earlier tests may end meanwhile: -2. A key that never ends has -1.
        left = [client.ttl(name) for name in client.scan_iter("test_*.history.installations")]
    assert left
    assert all(seconds == -2 or 0 <= seconds <= 20 for seconds in left)
    await history.close()
    await other.close()


@pytest.mark.django_db
def test_the_id_stays():
    first = installation_id()
    assert installation_id() == first == str(Installation.objects.get().uid)
