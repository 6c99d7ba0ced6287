from metrics_stream.core.delivery.pending import Loss
from metrics_stream.core.delivery.selection import Selection
from metrics_stream.core.protocol.codes import GapReason
from metrics_stream.core.protocol.messages import Filters
from metrics_stream.hub.past import MAX_VIEWS, PastPage
from tests.support.hub import HubHarness, make_numbered


def filtered(source):
    return Selection(("system",), Filters(sources=(source,)))


def test_clients_of_a_view_get_the_same_frames():
    harness, page = HubHarness(), PastPage([make_numbered(1), make_numbered(2, source="b")])
    (one, sink), (two, other_sink), (other, _) = harness.join(), harness.join(), harness.join(filtered("b"))
    harness.hub.write_past(one, page, Loss())
    harness.hub.write_past(two, page, Loss())
    assert sink.metrics == other_sink.metrics == [1, 2]
    assert page.frames_for(one, Loss(), None) is page.frames_for(two, Loss(), None)
    assert page.frames_for(other, Loss(), None).metrics == 1


def test_a_loss_is_told_to_its_client_only():
    harness, page = HubHarness(), PastPage([make_numbered(1)])
    (one, sink), (two, other_sink) = harness.join(), harness.join()
    loss = Loss()
    loss.add(GapReason.HISTORY, 3, ("system",))
    harness.hub.write_past(one, page, loss)
    harness.hub.write_past(two, page, Loss())
    assert [frame["type"] for frame in sink.frames] == ["gap", "metric_update"]
    assert [frame["type"] for frame in other_sink.frames] == ["metric_update"]


def test_ever_different_filters_do_not_fill_the_memory():
    harness, page = HubHarness(), PastPage([make_numbered(1)])
    for number in range(MAX_VIEWS + 5):
        client, _ = harness.join(filtered(f"s{number}"))
        page.frames_for(client, Loss(), None)
    assert len(page._frames) == MAX_VIEWS
