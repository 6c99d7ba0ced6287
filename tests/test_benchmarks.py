"""The benchmarks' own instruments: what the load client counts, and one tiny run from end to end."""

import asyncio
import json
import random
import re
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import AsyncIterator

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory

from benchmarks.load import Clients, Target
from benchmarks.native import BenchError, compiled
from benchmarks.soak.clients import Ledger, Tally
from benchmarks.soak.growth import fit
from tests.conftest import skip_or_fail
from tests.support.stack import ROOT, free_port


@pytest.fixture(scope="module")
def load_client() -> None:
    """Compile the load client, or say why the test is skipped."""
    try:
        compiled("load_client")
    except BenchError as error:
        skip_or_fail("REQUIRE_COMPILER", str(error))


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the benchmarks' command line."""
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def point(sent_at: float, number: int) -> str:
    """Return a metric as it stands in a frame."""
    return json.dumps({"sent_at": sent_at, "number": number, "value": 1.5}, separators=(",", ":"))


def test_readme_describes_every_scenario_of_the_list():
    listed = [line.split()[0] for line in bench("--list").stdout.splitlines()]
    readme = (ROOT / "benchmarks" / "README.md").read_text()
    assert len(listed) > 9
    assert re.findall(r"^\| `([a-z-]+)` \|", readme.partition("## Systems")[0], re.MULTILINE) == listed


def test_unknown_scenario_is_refused_with_what_is_allowed():
    done = bench("fan-in")
    assert done.returncode == 2
    assert "unknown scenario 'fan-in'; allowed: fan-out," in done.stderr


def test_growth_is_that_of_a_line_through_the_readings_and_says_how_sure_it_is():
    readings = [(float(at), 100.0 + at / 360 + (1.0 if at % 20 else -1.0)) for at in range(0, 3_600, 10)]
    growth = fit(readings)
    assert growth is not None
    assert growth.percent_per_hour == pytest.approx(10, abs=0.1)
    assert growth.error < 0.5
    assert (growth.low, growth.high) == (pytest.approx(-1, abs=0.02), pytest.approx(1, abs=0.02))
    assert fit(readings[:2]) is None


def test_a_client_of_the_soak_counts_what_is_missing_and_what_comes_twice():
    tally = Tally()
    ledger = Ledger(tally)
    for numbers in ([0, 1], [3], [2, 3], [4]):
        data = [
            {
                "metric_type": "agent",
                "source": "web-1",
                "timestamp": "2026-01-31T12:00:00Z",
                "data": [{"agent_id": "a", "number": number}],
            }
            for number in numbers
        ]
        text = {"type": "metric_batch", "count": len(data), "data": data, "position": f"1:agent={numbers[-1]}"}
        ledger.take(json.dumps(text).encode())
    ledger.take(b'{"type":"gap","reason":"bus","dropped":null,"metric_types":["agent"]}')
    assert ledger.position == "1:agent=4"
    assert tally.counts == {"metrics": 6, "missing": 1, "duplicate": 2, "gaps: bus": 1}
    assert len(tally.take_ages()) == 6
    assert tally.take_ages() == []


@pytest.mark.usefixtures("load_client")
@pytest.mark.parametrize(
    "extensions",
    [
        [ServerPerMessageDeflateFactory()],
        [ServerPerMessageDeflateFactory(server_max_window_bits=9)],
        [ServerPerMessageDeflateFactory(server_no_context_takeover=True)],
        [],
    ],
    ids=["context", "small-window", "no-context", "plain"],
)
async def test_load_client_counts_points_ages_gaps_and_what_is_missing_or_twice(extensions):
    heard = []
    ready_at = []

    async def handle(connection: ServerConnection) -> None:
        heard.append(await connection.recv())
        await connection.send('{"type":"welcome"}')
        await connection.recv()
        ready_at.append(time.time())
        now = ready_at[0]  # Both clients get equal messages.
        await connection.send(f'{{"type":"metric_batch","data":[{point(now - 5, 1)},{point(now - 5, 2)}]}}')
        # In three fragments, the last of which begins within the marker; compressed with the context of those before.
        text = f'{{"type":"metric_update","data":{point(now - 5, 5)}}}'
        middle = text.index("sent_at") + 3
        await connection.send(fragments(connection, text[:10], text[10:middle], text[middle:]))
        await connection.send('{"type":"gap","reason":"bus","dropped":null}')
        await connection.send(f'{{"type":"metric_update","data":{point(now - 60, 5)}}}')
        await connection.close(4008)

    async with serve(handle, "127.0.0.1", 0, compression=None, extensions=extensions) as server:
        port = server.sockets[0].getsockname()[1]
        target = Target(port=port, scripts=["one\tgo", "two\tgo"], ready="welcome")
        report = await asyncio.to_thread(count_until_closed, target)
    assert sorted(heard) == ["one", "two"]
    names = ("agreed", "frames", "inflated", "points", "repeated", "skipped", "gaps", "closed")
    assert {name: report[name] for name in names} == {
        "agreed": 2 if extensions else 0,
        "frames": 2 * 5,
        # Each client looks for the welcome; after it, equal messages are inflated once.
        "inflated": 2 + 4 if extensions else 0,
        "points": 2 * 4,
        "repeated": 2,
        "skipped": 2 * 2,
        "gaps": 2,
        "closed": {"4008": 2},
    }
    assert report["least"] == report["most"] == 4
    assert 5_000 <= report["p50_ms"] < 10_000
    assert 60_000 <= report["max_ms"] < 65_000


async def fragments(connection: ServerConnection, *parts: str) -> AsyncIterator[str]:
    """Yield the fragments of a message, with a ping that is answered between them."""
    for part in parts:
        yield part
        await (await connection.ping())


@pytest.mark.usefixtures("load_client")
async def test_load_client_tells_equal_bytes_apart_that_refer_to_different_messages():
    repetitions = set()
    base = int(time.time())
    noise = "".join(random.Random(1).choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=6000))

    async def handle(connection: ServerConnection) -> None:
        age = {"new": 5, "old": 60}[str(await connection.recv())]
        await connection.send('{"type":"welcome"}')
        await connection.recv()
        text = f'{{"type":"metric_update","data":{point(base - age, 1)}}}'
        await connection.send(text)
        deflate, connection.protocol.extensions = connection.protocol.extensions, []
        await connection.send(f'{{"type":"metric_update","data":{point(base - 30, 2)}}}')
        connection.protocol.extensions = deflate
        encoder = deflate[0].encoder.copy()
        repetitions.add(encoder.compress(text.encode()) + encoder.flush(zlib.Z_SYNC_FLUSH))
        await connection.send(text)
        # More than the window holds, so that both clients have got the same, as far as messages can refer to it.
        await connection.send(f'{{"type":"noise","data":"{noise}"}}')
        for number in (3, 4, 5, 6, 7, 8, 3):
            await connection.send(
                f'{{"type":"metric_update","data":{point(base - 30, number)},"noise":"{noise[-90 * number :][:90]}"}}'
            )
        await connection.close(1000)

    async with serve(handle, "127.0.0.1", 0, compression="deflate") as server:
        target = Target(port=server.sockets[0].getsockname()[1], scripts=["new\tgo", "old\tgo"], ready="welcome")
        report = await asyncio.to_thread(count_until_closed, target)
    assert len(repetitions) == 1
    assert report["closed"] == {"1000": 2}
    assert (report["points"], report["repeated"], report["skipped"]) == (2 * 10, 2 * 2, 0)
    seconds = [age // 1000 for age, count in report["ages_by_ms"] for _ in range(count)]
    assert [sum(low <= second < low + 10 for second in seconds) for low in (5, 30, 60)] == [2, 2 * 8, 2]
    assert report["inflated"] == 2 * 4 + 7


def count_until_closed(target: Target) -> dict[str, object]:
    """Connect two clients and return their counters when the server has closed them."""
    with Clients(target=target, count=2) as clients:
        deadline = time.monotonic() + 60
        while (report := clients.report())["alive"] and time.monotonic() < deadline:
            pass
        return report


@pytest.mark.usefixtures("load_client")
def test_clients_that_do_not_get_in_are_an_error():
    with pytest.raises(BenchError, match="0 of 2 clients got in"), Clients(target=Target(port=free_port()), count=2):
        pass


def test_missing_compiler_is_named_with_its_package(monkeypatch, tmp_path):
    monkeypatch.setattr("benchmarks.native.FOLDER", tmp_path / "benchmarks")
    shutil.copytree(ROOT / "benchmarks", tmp_path / "benchmarks")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchError, match="apt install gcc libc6-dev zlib1g-dev"):
        compiled("load_client")


@pytest.mark.valkey
@pytest.mark.usefixtures("load_client", "valkey_url")
def test_small_run_delivers_everything_and_writes_figures(tmp_path):
    figures = tmp_path / "figures.json"
    done = bench("many-clients", "--clients", "5", "--seconds", "1", "--json", str(figures))
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(figures.read_text())
    row = document["scenarios"]["many-clients"]["rows"][0]
    assert row["delivered"] == row["expected"] == 5 * 100
    assert row["deflate_agreed"] == 5
    assert row["repeated"] == row["skipped"] == row["gaps"] == 0
    assert row["cpu_seconds"] > 0
    assert document["machine"]["cores"] >= 1
    assert "p99 age ≤ 1250 ms" in done.stdout
