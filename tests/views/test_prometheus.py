import os
import subprocess
import sys

from metrics_stream.runtime import workers
from metrics_stream.telemetry import Telemetry
from metrics_stream.views.prometheus import exposition
from tests.support.exposition import values_of
from tests.support.samples import sample


def counted(clients: int, sent: int) -> Telemetry:
    telemetry = Telemetry(connected_clients=clients, total_connected=clients, metrics_sent=sent)
    telemetry.gaps_by_reason["slow_consumer"] += 1
    telemetry.dropped_by_reason["slow_consumer"] += 7
    telemetry.flush_seconds.observe(0.0002)
    telemetry.flush_seconds.observe(5.0)
    return telemetry


def test_counters_are_the_sum_of_all_and_gauges_of_the_living():
    alive = [sample(1.0, counted(2, 100)), sample(1.0, counted(3, 200), bus_live=False)]
    body, content_type = exposition(alive, [sample(1.0, counted(50, 1000))])
    assert content_type.startswith("text/plain")
    values = values_of(body)
    assert values["workers{}"] == 2
    assert values["clients{}"] == 5
    assert values["views{}"] == 4
    assert values["bus_live{}"] == 1
    assert values["connections_total{}"] == 55
    assert values["metrics_sent_total{}"] == 1300
    assert values["gaps_total{reason=slow_consumer}"] == 3
    assert values["gaps_total{reason=bus}"] == 0
    assert values["metrics_dropped_total{reason=slow_consumer}"] == 21
    assert values["closes_total{code=4008}"] == 0
    assert values["flush_seconds_bucket{le=0.00025}"] == 3
    assert values["flush_seconds_bucket{le=1.0}"] == 3
    assert values["flush_seconds_bucket{le=+Inf}"] == values["flush_seconds_count{}"] == 6
    assert round(values["flush_seconds_sum{}"], 4) == 15.0006


def test_who_asks_for_openmetrics_gets_it():
    body, content_type = exposition([sample(1.0, Telemetry())], accept="application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


def test_processes_know_of_each_other_and_of_those_that_died(tmp_path, monkeypatch):
    monkeypatch.setenv(workers.FOLDER_VARIABLE, str(tmp_path))
    telemetry = counted(2, 100)
    workers.publish_sample(sample(1.0, telemetry, pid=1))
    telemetry.metrics_sent = 150
    workers.publish_sample(sample(2.0, telemetry, pid=1))
    workers.publish_sample(sample(2.0, counted(0, 1), pid=2**22 + 1))  # above what Linux gives
    (tmp_path / "3.sample").write_bytes(b"half a sam")
    [first, second] = workers.other_samples(pid=4)
    assert [first.pid, second.pid] == [1, 2**22 + 1]
    assert first.telemetry == telemetry
    assert workers.is_alive(first, now=3.0)
    assert not workers.is_alive(first, now=1000.0)
    assert not workers.is_alive(second, now=3.0)
    assert [item.pid for item in workers.other_samples(pid=1)] == [2**22 + 1]


def test_a_killed_process_is_dead_before_its_parent_looks_after_it():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert workers.is_alive(sample(1.0, Telemetry(), pid=process.pid), now=1.0)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not workers.is_alive(sample(1.0, Telemetry(), pid=process.pid), now=1.0)


def test_without_workers_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.delenv(workers.FOLDER_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    workers.publish_sample(sample(1.0, Telemetry()))
    assert workers.other_samples(pid=1) == []
    assert list(tmp_path.iterdir()) == []
