"""Metric types in the admin: declared with their fields, and changed as far as what is recorded allows."""

import pytest
from django.contrib.auth.models import Permission

from metrics_stream.conf import get_settings
from metrics_stream.core.metrics.summaries import kind_of
from metrics_stream.models import AccessToken, MetricTypeDeclaration

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/admin/metrics_stream/metrictypedeclaration/"
FIELD = {"name": "waits.p95", "label": "Wait", "unit": "ms", "kind": "percentile", "good": "lower"}


def form(*fields, initial=0, **changes):
    inlines = {f"fields-{place}-{name}": value for place, field in enumerate(fields) for name, value in field.items()}
    counts = {"fields-TOTAL_FORMS": len(fields), "fields-INITIAL_FORMS": initial}
    return {"slug": "queue", "label": "Queues", "key": "", "optional_key": "", **counts, **inlines, **changes}


def test_a_type_is_declared_with_its_fields_and_known_at_once(admin_client):
    answer = admin_client.post(f"{LIST}add/", form(FIELD, {**FIELD, "name": "boxes", "kind": "counter"}, key="queue"))
    assert answer.status_code == 302, answer.context["adminform"].errors
    known = get_settings().catalogue().types["queue"]
    assert (known.label, known.key) == ("Queues", ("queue",))
    assert [(field.name, field.unit, field.good) for field in known.fields] == [
        ("waits.p95", "ms", "lower"),
        ("boxes", "ms", "lower"),
    ]
    assert kind_of("boxes") == "counter"
    page = admin_client.get(LIST).content.decode()
    assert "Queues" in page
    declared = MetricTypeDeclaration.objects.get()
    for path in (f"{declared.pk}/change/", f"{declared.pk}/history/", "add/"):
        assert admin_client.get(f"{LIST}{path}").status_code == 200


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"slug": "system"}, "exists already"),
        ({"slug": "all"}, "exists already"),
        ({"slug": "Two words"}, "is not a slug"),
        ({"slug": "x" * 41}, "at most 40"),
        ({"key": "Big Name"}, "is not a key part"),
        ({"key": "a\nb", "optional_key": "b"}, "is a key part already"),
        ({"optional_key": "b"}, "optional parts alone"),
        ({"key": "a\nb\nc\nd\ne\nf\ng"}, "at most 6"),
        ({"label": "a\x00b"}, "Null characters"),
    ],
    ids=str,
)
def test_the_form_names_what_is_wrong(admin_client, changes, words):
    answer = admin_client.post(f"{LIST}add/", form(**changes))
    assert answer.status_code == 200
    assert words in answer.content.decode()
    assert not MetricTypeDeclaration.objects.exists()


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ({"name": "error_rate", "kind": "counter"}, "is a gauge in another metric type"),
        ({"name": "a..b"}, "is not a field"),
        ({"name": " "}, "required"),
        ({"name": "n", "kind": "enormous"}, "Select a valid choice"),
    ],
    ids=str,
)
def test_the_form_names_what_is_wrong_with_a_field(admin_client, field, words):
    answer = admin_client.post(f"{LIST}add/", form({**FIELD, **field}))
    assert words in answer.content.decode()


def test_the_slug_and_the_key_stay_and_optional_parts_are_appended(admin_client):
    declared = MetricTypeDeclaration.objects.create(slug="queue", key=["queue"], optional_key=["region"])
    page = f"{LIST}{declared.pk}/change/"
    answer = admin_client.post(page, form(slug="other", key="other", optional_key="region\nzone"))
    assert answer.status_code == 302
    declared.refresh_from_db()
    assert (declared.slug, declared.key, declared.optional_key) == ("queue", ["queue"], ["region", "zone"])
    answer = admin_client.post(page, form(optional_key="zone"))
    assert "allowed: these, and others after them" in answer.content.decode()


def test_a_type_without_a_key_gets_one_once(admin_client):
    declared = MetricTypeDeclaration.objects.create(slug="queue")
    assert admin_client.post(f"{LIST}{declared.pk}/change/", form(key="queue")).status_code == 302
    assert get_settings().catalogue().types["queue"].key == ("queue",)


def test_a_deleted_type_is_unknown_at_once(admin_client):
    declared = MetricTypeDeclaration.objects.create(slug="queue")
    assert "queue" in get_settings().catalogue().types
    admin_client.post(f"{LIST}{declared.pk}/delete/", {"post": "yes"})
    assert "queue" not in get_settings().catalogue().types


@pytest.mark.parametrize("permitted", [True, False])
def test_only_who_may_add_types_gives_a_token_the_scope(client, django_user_model, permitted):
    user = django_user_model.objects.create_user("ann", is_staff=True)
    names = ["add_accesstoken", "view_accesstoken", *(["add_metrictypedeclaration"] if permitted else [])]
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    client.force_login(user)
    token = {"name": "k6", "scopes": ["publish", "types"], "metric_types": ["all"], "sources": ""}
    answer = client.post("/admin/metrics_stream/accesstoken/add/", token)
    assert AccessToken.objects.exists() is permitted
    assert ("which you may not do yourself" in answer.content.decode()) is not permitted


def test_the_scope_alone_is_refused(admin_client):
    token = {"name": "k6", "scopes": ["publish", "types"], "metric_types": ["system"], "sources": ""}
    answer = admin_client.post("/admin/metrics_stream/accesstoken/add/", token)
    assert "together with the scope publish and all metric types" in answer.content.decode()
