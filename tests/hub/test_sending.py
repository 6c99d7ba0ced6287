from metrics_stream.core.protocol.codes import CloseCode


def test_a_client_without_progress_is_closed_after_ten_seconds(harness):
    client, sink = harness.join()
    _, healthy = harness.join()
    sink.stalled = True
    harness.publish(1)
    harness.clock.advance(9.9)
    assert sink.closed is None
    harness.clock.advance(1.2)
    assert sink.closed == (CloseCode.SLOW_CONSUMER, "slow_consumer")
    assert list(harness.hub.clients) != []
    assert client.id not in harness.hub.clients
    assert healthy.closed is None
    assert harness.telemetry.slow_clients_closed == 1
    harness.hub.written(client)


def test_a_client_that_makes_progress_is_never_closed(harness):
    client, sink = harness.join()
    sink.stalled = True
    for number in range(100):
        harness.publish(number)
        harness.clock.advance(5.0)
        harness.hub.written(client)
    assert sink.closed is None


def test_a_client_that_reads_slowly_but_reads_is_not_closed(harness):
    _, sink = harness.join()
    sink.stalled = True
    sink.unread = 1_000_000
    harness.publish(1)
    for _ in range(60):
        sink.unread -= 1_000
        harness.clock.advance(1.0)
    assert sink.closed is None
    harness.clock.advance(11.0)
    assert sink.closed == (CloseCode.SLOW_CONSUMER, "slow_consumer")
    assert harness.telemetry.closes_by_code == {4008: 1}


def test_a_broken_sink_costs_the_others_nothing(harness, caplog):
    sinks = [harness.join()[1] for _ in range(3)]
    sinks[1].broken = True
    harness.publish(1)
    harness.clock.advance(0.02)
    harness.publish(2)
    harness.clock.advance(0.2)
    assert [sink.metrics for sink in sinks] == [[1, 2], [], [1, 2]]
    assert sinks[1].closed == (CloseCode.GOING_AWAY, "internal")
    assert len(harness.hub.clients) == 2
    assert "this sink is broken" in caplog.text
