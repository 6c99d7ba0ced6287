"""A type that comes into being during a test run is recorded from its first metric on."""

import pytest

from metrics_stream.bus.bus import declare_server
from metrics_stream.conf import get_settings
from metrics_stream.models import MetricTypeDeclaration
from metrics_stream.runs import lifecycle
from metrics_stream.runs.recorder import Recorder
from tests.support.recording import publish_numbers, recorded_numbers

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def recorder():
    declare_server()
    made = Recorder(get_settings(), name="here")
    made.open()
    yield made
    made.close()


def test_the_first_metrics_of_a_new_type_are_recorded(recorder):
    recorder.step()
    run = lifecycle.start("soak")
    publish_numbers(1)
    recorder.step()
    publish_numbers(2, 3, metric_type="queue")  # it is created by the first of them
    publish_numbers(4)
    recorder.step()
    recorder.step()
    assert sorted(recorded_numbers(run)) == [1, 2, 3, 4]


def test_a_type_that_is_deleted_during_a_run_is_recorded_once(recorder):
    run = lifecycle.start("soak")
    publish_numbers(1, metric_type="queue")
    recorder.step()
    MetricTypeDeclaration.objects.get().delete()
    recorder.step()
    MetricTypeDeclaration.objects.create(slug="queue")
    publish_numbers(2, metric_type="queue")
    recorder.step()
    assert recorded_numbers(run) == [1, 2]
