"""Keys that no column of the database can hold, in forms and lists of the admin."""

import pytest
from django.urls import reverse

from metrics_stream.models import AccessPolicy

TOO_LARGE = str(2**63)

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("field", ["users", "groups", "dashboards"])
def test_a_choice_that_no_column_can_hold_is_refused_with_words(admin_client, field):
    answer = admin_client.post(reverse("admin:metrics_stream_accesspolicy_add"), {"name": "A", field: [TOO_LARGE]})
    assert answer.status_code == 200
    assert f"{TOO_LARGE} is not one of the available choices" in answer.content.decode()
    assert not AccessPolicy.objects.exists()


@pytest.mark.parametrize("model", ["accesspolicy", "dashboard", "clientpreset", "testrun", "panel"])
def test_an_action_on_a_key_that_no_column_can_hold_changes_nothing(admin_client, model):
    sent = {"action": "delete_selected", "_selected_action": [TOO_LARGE], "index": "0"}
    answer = admin_client.post(reverse(f"admin:metrics_stream_{model}_changelist"), sent, follow=True)
    assert answer.status_code == 200
