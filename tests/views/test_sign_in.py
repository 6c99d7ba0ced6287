"""Signing in and out: who gets in, where it leads, and who has to wait."""

import re
from datetime import timedelta

import pytest
from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.conf import settings as project
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.test import Client, RequestFactory
from django.utils import timezone

from metrics_stream.views.sign_in import ADDRESSES_OF_A_NAME, NAMES_OF_AN_ADDRESS, client_address

pytestmark = pytest.mark.django_db

LIMIT = project.AXES_FAILURE_LIMIT
WAIT = project.AXES_COOLOFF_TIME
PASSWORD = "a-password-of-the-tests"
HERE, ELSEWHERE = "192.0.2.1", "192.0.2.2"


@pytest.fixture(autouse=True)
def anna() -> User:
    return User.objects.create_user("anna", password=PASSWORD)


def attempt(password: str = "wrong", *, name: str = "anna", address: str = HERE, page: str = "/login/", **options):
    client = options.pop("client", None) or Client(REMOTE_ADDR=address)
    return client.post(page, {"username": name, "password": password, **options}, REMOTE_ADDR=address)


def fail(times: int, **options) -> list[int]:
    return [attempt(**options).status_code for _ in range(times)]


def let_pass(time: timedelta) -> None:
    """Move all attempts into the past, as if `time` had gone by."""
    for each in AccessAttempt.objects.all():
        each.attempt_time -= time
        each.save()


# --- getting in and out ---


def test_a_right_password_leads_home_and_a_wrong_one_says_so_in_plain_words():
    wrong = attempt()
    assert wrong.status_code == 200
    assert "The user name or the password is wrong." in wrong.text
    assert 'role="alert"' in wrong.text
    right = attempt(PASSWORD)
    assert (right.status_code, right.headers["location"]) == (302, "/")


@pytest.mark.parametrize("page", ["/login/", "/admin/login/"])
def test_one_answer_for_names_that_exist_and_names_that_do_not(page):
    def answer(name: str) -> str:
        text = attempt(name=name, page=page).text
        return re.sub(r'value="[^"]*"|nonce="\w+"', "", text)

    User.objects.create_user("retired", password=PASSWORD, is_active=False)
    assert answer("anna") == answer("nobody") == answer("retired")
    assert attempt(PASSWORD, name="retired", page=page).status_code == 200


@pytest.mark.parametrize(
    ("wanted", "leads_to"),
    [
        ("/runs/?q=soak", "/runs/?q=soak"),
        ("https://elsewhere.example.com/", "/"),
        ("//elsewhere.example.com/", "/"),
        ("/\\elsewhere.example.com/", "/"),
        ("///elsewhere.example.com", "/"),
        ("javascript:alert(1)", "/"),
        ("http:///elsewhere.example.com", "/"),
        ("\tjavascript:alert(1)", "/"),
        ("", "/"),
    ],
)
def test_signing_in_leads_to_this_site_only(wanted, leads_to):
    assert attempt(PASSWORD, next=wanted).headers["location"] == leads_to


def test_who_is_signed_in_is_led_on_and_gets_out_by_post_alone():
    client = Client()
    attempt(PASSWORD, client=client)
    assert client.get("/login/?next=/console/").headers["location"] == "/console/"
    assert client.get("/logout/").status_code == 405
    assert client.get("/login/").status_code == 302
    assert client.post("/logout/").headers["location"] == "/"
    assert client.get("/login/").status_code == 200


def test_signing_out_from_another_site_is_refused():
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.get())
    assert client.post("/logout/", headers={"Origin": "https://elsewhere.example.com"}).status_code == 403


def test_the_header_says_who_is_signed_in_and_shows_the_admin_to_staff_alone():
    client = Client()
    page = client.get("/runs/?q=a b&status=running").text
    assert '/login/?next=%2Fruns%2F%3Fq%3Da%2520b%26status%3Drunning"' in page
    assert 'href="/admin/"' not in page
    client.force_login(User.objects.get())
    page = client.get("/runs/").text
    assert "anna" in page
    assert "Sign out" in page
    assert 'href="/admin/"' not in page
    User.objects.update(is_staff=True)
    assert 'href="/admin/"' in client.get("/runs/").text


def header(client: Client, address: str) -> str:
    return client.get(address).text.partition("<header")[2].partition("</header>")[0]


def links(client: Client, address: str) -> set[str]:
    return {link.partition("?")[0] for link in re.findall(r'href="([^"]+)"', header(client, address))}


@pytest.mark.parametrize(("address", "sign_in"), [("/login/", set()), ("/no-such-page/", {"/login/"})])
def test_the_header_shows_pages_only_to_whoever_may_see_some(client, settings, address, sign_in):
    assert links(client, address) == {"/", "/runs/", "/explore/", "/console/"} | sign_in
    settings.ANONYMOUS_READ = False
    assert links(client, address) == {"/"} | sign_in
    assert "<nav" not in header(client, address)


def test_the_header_of_a_closed_site_shows_pages_to_who_is_signed_in(client, settings):
    settings.ANONYMOUS_READ = False
    client.force_login(User.objects.get())
    assert links(client, "/no-such-page/") == {"/", "/runs/", "/explore/", "/console/"}


@pytest.mark.parametrize("text", ["\0", "a\0b", "x" * 100_000, "\uff41nna", "anna'--", '{"$ne": null}'])
def test_odd_names_are_refused_like_any_other(text):
    assert attempt(name=text).status_code == 200
    assert attempt(text).status_code == 200


# --- waiting ---


@pytest.mark.parametrize("page", ["/login/", "/admin/login/"])
def test_after_too_many_wrong_passwords_the_right_one_is_refused_with_how_long(page):
    User.objects.update(is_staff=True)
    assert fail(LIMIT - 1, page=page) == [200] * (LIMIT - 1)
    answer = attempt(page=page)
    assert answer.status_code == 429
    assert "Too many attempts to sign in" in answer.text
    assert "Try again in 15 minutes" in " ".join(answer.text.split())
    assert 890 <= int(answer.headers["Retry-After"]) <= 900
    assert answer.headers["Cache-Control"] == "no-store"
    refused = attempt(PASSWORD, page=page)
    assert refused.status_code == 429
    assert "sessionid" not in refused.cookies
    # Both pages count together.
    assert attempt(PASSWORD, page="/login/").status_code == 429


def test_the_same_person_elsewhere_and_others_here_are_not_disturbed():
    User.objects.create_user("bert", password=PASSWORD)
    fail(LIMIT)
    assert attempt(PASSWORD).status_code == 429
    assert attempt(PASSWORD, address=ELSEWHERE).status_code == 302
    assert attempt(PASSWORD, name="bert").status_code == 302
    # Neither of them has shortened the wait.
    assert attempt(PASSWORD).status_code == 429


def test_who_is_signed_in_stays_so():
    client = Client()
    attempt(PASSWORD, client=client)
    fail(LIMIT)
    assert client.get("/login/").status_code == 302


def test_the_wait_ends_by_itself_and_trying_on_does_not_prolong_it():
    fail(LIMIT)
    let_pass(WAIT - timedelta(seconds=30))
    answer = attempt()
    assert (answer.status_code, "in 1 minute;" in answer.text) == (429, True)
    assert 25 <= int(answer.headers["Retry-After"]) <= 30
    let_pass(timedelta(seconds=31))
    assert attempt(PASSWORD).status_code == 302


def test_another_browser_on_the_same_address_counts_too():
    for number in range(LIMIT):
        answer = Client(REMOTE_ADDR=HERE, headers={"User-Agent": f"browser {number}"}).post(
            "/login/", {"username": "anna", "password": "wrong"}
        )
    assert answer.status_code == 429


def test_a_right_password_forgets_the_wrong_ones_before():
    for _ in range(3):
        assert fail(LIMIT - 1) == [200] * (LIMIT - 1)
        assert attempt(PASSWORD).status_code == 302


def test_one_address_that_tries_many_names_has_to_wait():
    names = LIMIT * NAMES_OF_AN_ADDRESS
    AccessAttempt.objects.bulk_create(
        AccessAttempt(username=f"name-{number}", ip_address=HERE, failures_since_start=1, attempt_time=timezone.now())
        for number in range(names - 2)
    )
    assert attempt(name="one more").status_code == 200
    assert attempt(name="the last").status_code == 429
    assert attempt(PASSWORD).status_code == 429
    assert attempt(PASSWORD, address=ELSEWHERE).status_code == 302
    let_pass(WAIT + timedelta(seconds=1))
    assert attempt(PASSWORD).status_code == 302


@pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Real-IP", "Forwarded", "CF-Connecting-IP", "True-Client-IP"])
def test_what_a_header_claims_about_the_address_counts_for_nothing(header):
    for number in range(LIMIT):
        answer = Client(REMOTE_ADDR=HERE, headers={header: f"198.51.100.{number}"}).post(
            "/login/", {"username": "anna", "password": "wrong"}
        )
    assert answer.status_code == 429
    assert set(AccessAttempt.objects.values_list("ip_address", flat=True)) == {HERE}


@pytest.mark.parametrize(
    ("told", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::1", "::"),
        ("unknown", None),
        ("", None),
    ],
)
def test_addresses_as_they_are_counted(told, counted):
    assert client_address(RequestFactory().get("/", REMOTE_ADDR=told)) == counted


def test_a_connection_without_an_address_is_limited_all_the_same():
    assert fail(LIMIT, address="")[-1] == 429


@pytest.mark.django_db(transaction=True)
async def test_the_page_is_the_same_under_asgi(async_client):
    for _ in range(LIMIT):
        answer = await async_client.post("/login/", {"username": "anna", "password": "wrong"})
    assert (answer.status_code, "Try again in" in answer.text) == (429, True)


# --- what is left of it ---


def test_the_admin_shows_who_tried_and_staff_can_end_a_wait(admin_client):
    fail(LIMIT, name="anna")
    attempt(PASSWORD, address=ELSEWHERE)
    for address in ("axes/accessattempt/", "axes/accessfailurelog/", "axes/accesslog/"):
        page = admin_client.get(f"/admin/{address}")
        assert page.status_code == 200
        assert "anna" in page.text
    assert AccessFailureLog.objects.count() == LIMIT
    assert AccessLog.objects.filter(username="anna", ip_address=ELSEWHERE).count() == 1
    [row] = AccessAttempt.objects.all()
    admin_client.post(f"/admin/axes/accessattempt/{row.pk}/delete/", {"post": "yes"})
    assert attempt(PASSWORD).status_code == 302


def test_admins_find_it_under_a_heading_that_says_what_it_is_and_its_tables_and_permissions_keep_their_names(
    admin_client,
):
    captions = re.findall(r"<caption>(.*?)</caption>", admin_client.get("/admin/").text, re.DOTALL)
    assert "Sign-in attempts" in [re.sub("<.*?>", "", caption).strip() for caption in captions]
    assert "Axes" not in admin_client.get("/admin/axes/").text
    assert AccessAttempt._meta.db_table == "axes_accessattempt"
    assert Permission.objects.filter(content_type__app_label="axes", codename="view_accessattempt").exists()
    call_command("makemigrations", "axes", check=True, dry_run=True)


def test_no_password_and_no_user_name_is_kept_or_logged(caplog):
    caplog.set_level("DEBUG")
    fail(2, password="hunter2-secret", name="hunter3-secret")
    kept = [str(row) for row in AccessAttempt.objects.values_list("get_data", "post_data", "path_info")]
    assert "secret" not in "".join(kept)
    assert HERE in caplog.text
    said = [record.getMessage() for record in caplog.records if record.name.startswith("axes")]
    assert said
    assert "secret" not in "".join(said)


def test_pages_ask_the_database_nothing_more_for_it(client, django_assert_num_queries):
    with django_assert_num_queries(0):
        client.get("/login/")
        client.get("/healthz")


def test_many_addresses_that_try_one_name_have_to_wait_and_the_owner_has_not():
    assert attempt(PASSWORD, address="203.0.113.9").status_code == 302
    statuses = [attempt(address=f"198.51.100.{number}").status_code for number in range(60)]
    limit = project.AXES_FAILURE_LIMIT * ADDRESSES_OF_A_NAME
    assert statuses == [200] * (limit - 1) + [429] * (61 - limit)
    # Not even with the right password from an address that the name has never used,
    answer = attempt(PASSWORD, address="198.51.100.99")
    assert (answer.status_code, int(answer.headers["Retry-After"]) > 0) == (429, True)
    # but from one that it has, and others are not concerned.
    assert attempt(PASSWORD, address="203.0.113.9").status_code == 302
    assert attempt(name="ben", address="198.51.100.98").status_code == 200


def test_a_known_address_may_fail_no_more_often_than_others():
    assert attempt(PASSWORD, address="203.0.113.9").status_code == 302
    for number in range(30):
        attempt(address=f"198.51.100.{number}")
    limit = project.AXES_FAILURE_LIMIT
    statuses = [attempt(address="203.0.113.9").status_code for _ in range(limit + 1)]
    assert statuses == [200] * (limit - 1) + [429] * 2
