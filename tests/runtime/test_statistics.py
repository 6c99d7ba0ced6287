"""What a process reports about itself, to its clients, its siblings and the admin."""

import json

from metrics_stream.broadcast import broadcast_system_metrics
from metrics_stream.bus.bus import declare_server
from metrics_stream.core.delivery.explanation import Question
from metrics_stream.runtime import statistics, workers
from metrics_stream.runtime.runtime import get_runtime, samples, snapshot, stop_runtime


async def test_a_question_that_cannot_be_answered_costs_the_clients_nothing(client, monkeypatch, caplog):
    runtime = get_runtime()
    await runtime.membership.wait_joined(("system",))
    with monkeypatch.context() as broken:
        broken.setattr(statistics, "answer_question", None)
        question = Question(client_id="one", metric_type="system")
        assert await runtime.bus.ask_about_client(question, wait_seconds=0.1) is None
    assert "a request for statistics could not be answered" in caplog.text
    await broadcast_system_metrics({"n": 1})
    assert (await client.hear())["data"]["data"] == {"n": 1}
    answer = await runtime.bus.ask_about_client(question, wait_seconds=10)
    assert answer["explanation"]["gets"]


async def test_a_process_without_clients_has_statistics_too():
    declare_server()
    stats = snapshot()
    assert stats["clients"] == []
    assert stats["bus"] == "in-memory"
    json.dumps(stats)
    await stop_runtime()


async def test_what_was_told_of_a_process_once_its_siblings_tell_too_also_after_its_end(monkeypatch, tmp_path):
    monkeypatch.setenv(workers.FOLDER_VARIABLE, str(tmp_path))
    declare_server()
    telemetry = get_runtime().telemetry

    def known_to_siblings():
        (sample,) = workers.other_samples(pid=1)
        return sample.telemetry.metrics_sent

    for _ in range(3):
        telemetry.metrics_sent += 1
        (own, *_), _ = samples()
        assert own.telemetry.metrics_sent == known_to_siblings() == telemetry.metrics_sent
    telemetry.metrics_sent += 1
    await stop_runtime()
    assert known_to_siblings() == telemetry.metrics_sent
