"""Thousands of requests to every page and form of the admin: none is answered 500."""

from collections import Counter

import pytest
from django.contrib import admin
from django.urls import reverse
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from metrics_stream.models import Dashboard
from tests.support.admin_forms import DASHBOARD, PANEL, PRESET, RUN

HOSTILE = ["", "NaN", "-1", "9" * 400, "1e999", "\0", "[[]]", '{"a":1}', "\u202e", "=1", "' OR 1=1", "%s", "null"]
texts = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=30), st.integers().map(str))
FORMS = {"clientpreset": PRESET, "dashboard": DASHBOARD, "panel": PANEL, "testrun": RUN}
OWN = [model for model in admin.site._registry if model._meta.app_label == "metrics_stream" and model._meta.managed]
CONTROL = ["_save", "_continue", "_addanother", "_popup", "_saveasnew", "action", "_selected_action", "index", "post"]
QUERY = ["q", "o", "p", "all", "e", "_changelist_filters", "_to_field", "_popup", "status__exact", "id__exact", "x__y"]


def names_of(model) -> list[str]:
    parts = [field.name for field in model._meta.get_fields()]
    inline = [
        f"{prefix}-{part}" for prefix in ("panels", "panels-0") for part in ("TOTAL_FORMS", "INITIAL_FORMS", "id")
    ]
    return [*parts, *(f"{part}_{n}" for part in parts if part.endswith("_at") for n in (0, 1)), *inline, *CONTROL]


@pytest.mark.django_db
@pytest.mark.parametrize("count", [200, pytest.param(20_000, marks=pytest.mark.faults)], ids=["short", "long"])
def test_no_form_and_no_list_fails(admin_client, count):
    admin_client.raise_request_exception = False
    Dashboard.objects.create(title="A", slug="a")
    seen: Counter[int] = Counter()

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        print_blob=True,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def fuzz(data):
        model = data.draw(st.sampled_from(OWN))
        name = f"admin:metrics_stream_{model._meta.model_name}_"
        page = data.draw(st.sampled_from(["changelist", "add", "change", "delete", "history"]))
        pk = data.draw(
            st.one_of(st.sampled_from(["1", "2"]), st.text(alphabet="_0123456789aZ-", min_size=1, max_size=30))
        )
        address = reverse(f"{name}{page}", args=[] if page in ("changelist", "add") else [pk])
        if data.draw(st.booleans()):
            answer = admin_client.get(address, data.draw(st.dictionaries(st.sampled_from(QUERY), texts, max_size=4)))
        else:
            sent = dict(FORMS.get(model._meta.model_name, {}))
            values = texts | st.lists(texts, max_size=3)
            sent |= data.draw(st.dictionaries(st.sampled_from(names_of(model)), values, max_size=5))
            answer = admin_client.post(address, sent)
        seen[answer.status_code] += 1
        assert answer.status_code < 500, (page, model, answer.status_code)

    fuzz()
    assert seen[200]
    assert seen[302]
