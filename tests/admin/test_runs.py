"""Test runs in the admin: started, edited, ended and deleted by a person."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse
from django.utils import timezone

from metrics_stream.conf import get_settings
from metrics_stream.core.run_values import Phase
from metrics_stream.history import open_history
from metrics_stream.models import AccessToken, TestRun
from metrics_stream.runs import lifecycle as runs
from metrics_stream.runs import phases
from tests.support.admin_forms import RUN

# The history hears of a run when the transaction of the request has ended.
pytestmark = pytest.mark.django_db(transaction=True)

ADD = "/admin/metrics_stream/testrun/add/"
LIST = "/admin/metrics_stream/testrun/"


def active():
    return [run.id for run in asyncio.run(open_history(get_settings()).active_runs())]


def page(client, address):
    return client.get(address).content.decode()


def change_address(run):
    return reverse("admin:metrics_stream_testrun_change", args=[run.pk])


def act(client, action, *chosen):
    data = {"action": action, "_selected_action": [run.pk for run in chosen]}
    return client.post(LIST, data, follow=True).content.decode()


def test_adding_a_run_starts_it(admin_client):
    assert admin_client.post(ADD, RUN).status_code == 302
    run = TestRun.objects.get()
    assert (run.name, run.status, run.target_tps, run.notes) == ("Checkout soak", "running", 200.0, "x")
    assert (run.sources, run.tags) == (["a", "b"], ["soak", "release-42"])
    assert (run.test, run.parameters) == ("checkout-soak", {"commit": "3f2a9c1", "users": 50})
    assert active() == [run.slug]
    assert run.history.get().history_user.username == "admin"


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("name", "", "This field is required."),
        ("name", "a\x1b[31m", "holds the character &#x27;\\x1b&#x27;"),
        ("target_tps", "many", "&#x27;many&#x27; is not a number; allowed: a finite number such as 0.95"),
        ("target_tps", "nan", "nan is not a number; allowed: a finite number such as 0.95"),
        ("target_tps", "-1", "Ensure this value is greater than or equal to 0"),
        ("tags", "x" * 201, "allowed: at most 200 for each entry"),
        ("sources", "\n".join(map(str, range(2000))), "the list has 2,000 entries; allowed: at most 1,000"),
        ("test", "a b", "test is &#x27;a b&#x27;; allowed: 1 to 100 letters from a to z"),
        ("parameters", "commit", "the parameter &#x27;commit&#x27; has no value; allowed: NAME=VALUE"),
        ("parameters", "a=1\na=2", "the parameter &#x27;a&#x27; is given more than once"),
        ("parameters", "a=" + "x" * 501, "allowed: a text of at most 500 printable characters"),
        ("parameters", "\n".join(f"a{n}=1" for n in range(51)), "parameters has 51 entries; allowed: at most 50"),
        ("started_at_0", "2026-01-31", "Enter a valid time."),
        ("notes", "x" * 5001, "the text has 5,001 characters; allowed: at most 5,000"),
    ],
)
def test_a_bad_value_is_an_error_in_the_form(admin_client, column, value, message):
    response = admin_client.post(ADD, {**RUN, column: value})
    assert response.status_code == 200
    assert message in response.content.decode()
    assert not TestRun.objects.exists()


def test_without_a_history_the_form_says_so(admin_client, settings):
    settings.METRICS_STREAM = {"HISTORY_SECONDS": 0}
    response = admin_client.post(ADD, RUN)
    assert "there is none: set METRICS_STREAM[&#x27;HISTORY_SECONDS&#x27;] above 0" in response.content.decode()
    assert not TestRun.objects.exists()


def test_what_people_say_of_a_run_can_be_edited_and_nothing_else(admin_client):
    run = runs.start("before", sources=["a"])
    TestRun.objects.update(metrics_recorded=5)
    data = {"name": "after", "target_tps": "", "tags": "x", "notes": "y", "sources": "z", "status": "failed"}
    assert admin_client.post(change_address(run), data).status_code == 302
    run = TestRun.objects.get()
    assert (run.name, run.target_tps, run.tags, run.notes) == ("after", None, ["x"], "y")
    assert (run.sources, run.status, run.metrics_recorded) == (["a"], "running", 5)


# --- start and end, parameters, phases ---

BEGIN = datetime(2026, 1, 31, 12, tzinfo=UTC)
SPAN = {
    **{"started_at_0": "2026-01-31", "started_at_1": "12:00:00"},
    **{"ended_at_0": "2026-01-31", "ended_at_1": "13:00:00"},
}


def phase_forms(*rows, stored=0):
    """Return what the form sends for phases, each as name, start, end and further values."""
    data = {"phases-TOTAL_FORMS": len(rows), "phases-INITIAL_FORMS": stored}
    for number, (name, start, end, more) in enumerate(rows):
        values = {"name": name, "starts_at_0": "2026-01-31", "starts_at_1": start}
        values |= {"ends_at_0": "2026-01-31" if end else "", "ends_at_1": end, **more}
        data |= {f"phases-{number}-{key}": value for key, value in values.items()}
    return data


def stored_phases(run):
    return [(phase.name, f"{phase.starts_at:%H:%M}", f"{phase.ends_at:%H:%M}") for phase in run.phases.all()]


def test_a_run_of_a_test_that_is_over_is_added_with_its_phases(admin_client):
    given = phase_forms(("steady", "12:10", "", {}), ("ramp", "12:00", "12:10", {}))
    assert admin_client.post(ADD, {**RUN, **SPAN, **given}).status_code == 302
    run = TestRun.objects.get()
    assert (run.status, run.is_past, run.started_at, run.ended_at) == (
        *("completed", True, BEGIN),
        BEGIN + timedelta(hours=1),
    )
    assert stored_phases(run) == [("ramp", "12:00", "12:10"), ("steady", "12:10", "13:00")]
    assert runs.active() == ()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({**SPAN, "ended_at_0": "", "ended_at_1": ""}, "ended_at is missing; allowed: both started_at and ended_at"),
        ({**SPAN, "ended_at_1": "11:00"}, "allowed: an instant after started_at"),
        ({**SPAN, "ended_at_0": "2999-01-01"}, "allowed: an instant that is over"),
        ({**SPAN, **phase_forms(("x", "11:00", "11:30", {}))}, "the phase &#x27;x&#x27; is outside its run"),
        (
            {**SPAN, **phase_forms(("a", "12:00", "12:30", {}), ("b", "12:20", "", {}))},
            "the phase &#x27;b&#x27; begins before &#x27;a&#x27; ends",
        ),
        ({**SPAN, **phase_forms((" ", "12:00", "12:30", {}))}, "This field is required."),
        (phase_forms(("x", "12:00", "", {})), "The phases of a run that begins now are added while it goes on."),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_wrong_start_end_or_phase_is_an_error_in_the_form(admin_client, given, message):
    response = admin_client.post(ADD, {**RUN, **given})
    assert response.status_code == 200
    assert message in response.content.decode()
    assert not TestRun.objects.exists()


def test_phases_are_edited_added_and_deleted(admin_client):
    run = runs.start("soak", started_at=BEGIN, ended_at=BEGIN + timedelta(hours=1))
    phases.put(
        run,
        [Phase("ramp", BEGIN, BEGIN + timedelta(minutes=5)), Phase("warm-up", BEGIN + timedelta(minutes=5))],
    )
    ramp, other = run.phases.all()
    assert "warm-up" in page(admin_client, change_address(run))
    data = RUN | phase_forms(
        ("ramp", "12:00", "12:10", {"id": ramp.pk, "run": run.pk}),
        ("warm-up", "12:05", "13:00", {"id": other.pk, "run": run.pk, "DELETE": "on"}),
        ("steady", "12:10", "12:50", {}),
        stored=2,
    )
    assert admin_client.post(change_address(run), data).status_code == 302
    assert stored_phases(run) == [("ramp", "12:00", "12:10"), ("steady", "12:10", "12:50")]


def test_parameters_keep_their_types_unless_they_are_changed(admin_client):
    run = runs.start("soak", parameters={"build": "5", "users": 50, "version": "1.10"})
    assert "build=5\nusers=50\nversion=1.10" in page(admin_client, change_address(run))
    data = {**RUN, "parameters": "version=1.10\nbuild=5\nusers=60\nnew=true"}
    assert admin_client.post(change_address(run), data).status_code == 302
    run.refresh_from_db()
    assert run.parameters == {"version": "1.10", "build": "5", "users": 60, "new": True}
    assert run.history.first().parameters == run.parameters


def test_staff_who_may_only_look_see_phases_and_change_none(client, django_user_model):
    run = runs.start("soak", started_at=BEGIN, ended_at=BEGIN + timedelta(hours=1), parameters={"commit": "3f2a9c1"})
    phases.put(run, [Phase("ramp", BEGIN)])
    ann = django_user_model.objects.create_user("ann", "", "x", is_staff=True)
    ann.user_permissions.add(Permission.objects.get(codename="view_testrun"))
    client.force_login(ann)
    content = page(client, change_address(run))
    assert "ramp" in content
    assert "phases-0-name" not in content
    assert client.post(change_address(run), {**RUN, **phase_forms()}).status_code == 403
    assert stored_phases(run) == [("ramp", "12:00", "13:00")]


def test_runs_are_found_by_test_and_parameter(admin_client):
    runs.start("first", test="checkout", parameters={"commit": "3f2a9c1"})
    runs.start("second")
    for word in ("checkout", "3f2a9c1"):
        content = page(admin_client, f"{LIST}?q={word}")
        assert "first" in content
        assert ">second<" not in content


def test_the_list_and_the_form_say_what_became_of_a_run(admin_client, monkeypatch):
    now = timezone.now()
    monkeypatch.setattr(timezone, "now", lambda: now)
    run = runs.start("soak", tags=["release-42"])
    long_ago = now - timedelta(minutes=12, seconds=30)
    hole = {"at": "2026-01-31T12:00:00Z", "metric_type": "system", "count": 1200, "reason": "history"}
    TestRun.objects.update(started_at=long_ago, last_at=long_ago, metrics_recorded=12_345, lost=[hole])
    for address in (LIST, change_address(run)):
        content = page(admin_client, address)
        for text in ("Running, nothing new for 12 min", "12\xa0min 30\xa0s", "12,345<", "1,200"):
            assert text in content, (address, text)
    assert "every source" in page(admin_client, change_address(run))
    runs.stop(run)
    assert "12,345, more follow" in page(admin_client, LIST)
    TestRun.objects.update(recording_ended_at=timezone.now(), lost=[hole, {**hole, "count": None}])
    content = page(admin_client, LIST)
    assert "12,345<" in content
    assert "at least 1,200" in content
    assert "release-42" in content


def test_the_form_says_which_token_has_started_a_run(admin_client):
    token, _ = AccessToken.issue(name="k6 <in Oslo>", scopes=["runs"])
    run = runs.start("soak", started_by=token)
    assert "k6 &lt;in Oslo&gt;</a>" in page(admin_client, change_address(run))
    token.delete()
    assert "in Oslo" not in page(admin_client, change_address(run))
    assert TestRun.objects.get().status == "running"


def test_runs_are_found_by_tag_and_status(admin_client):
    runs.start("first", tags=["release-42"])
    runs.cancel(runs.start("second"))
    assert "second" not in page(admin_client, f"{LIST}?q=release-42")
    assert "first" not in page(admin_client, f"{LIST}?status__exact=cancelled")


def test_actions_pause_resume_end_and_cancel(admin_client):
    first, second = runs.start("first"), runs.start("second")
    assert "Paused first." in act(admin_client, "pause", first)
    assert active() == [second.slug]
    assert "Resumed first." in act(admin_client, "resume", first)
    assert "Ended first." in act(admin_client, "complete", first)
    text = act(admin_client, "cancel", first, second)
    assert "Cancelled second." in text
    assert f"The test run &#x27;{first.slug}&#x27; is completed, not running or paused" in text
    assert active() == []
    assert {run.name: run.status for run in TestRun.objects.all()} == {"first": "completed", "second": "cancelled"}


def test_deleting_asks_first_and_says_how_much_goes(admin_client):
    run, other = runs.start("soak"), runs.start("other")
    TestRun.objects.filter(pk=run.pk).update(metrics_recorded=12_345)
    address = reverse("admin:metrics_stream_testrun_delete", args=[run.pk])
    assert "Recorded metrics: 12,345" in page(admin_client, address)
    assert TestRun.objects.filter(pk=run.pk).exists()
    admin_client.post(address, {"post": "yes"})
    assert active() == [other.slug]
    assert "Recorded metrics: 0" in act(admin_client, "delete_selected", other)
    data = {"action": "delete_selected", "_selected_action": [other.pk], "post": "yes"}
    admin_client.post(LIST, data)
    assert not TestRun.objects.exists()
    assert active() == []
