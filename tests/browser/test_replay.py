"""Replays of the history and of test runs on dashboards, in a real browser, over a real stack."""

import json
import re
import sqlite3
import time
from datetime import datetime

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import forget_history
from tests.support.dashboard_pages import badge, figure, open_operations, panel, publish
from tests.support.stack import Stack, wait_until

pytestmark = pytest.mark.browser


def record_run(stack: Stack, *values: float) -> str:
    """Record a short test run and return its id."""
    slug = stack.manage("start_run", "Checkout soak").split()[0]
    publish(stack, *values)
    stack.manage("stop_run", slug)

    def is_recorded() -> bool:
        with sqlite3.connect(stack.folder / "db.sqlite3") as database:
            query = "SELECT metrics_recorded, recording_ended_at FROM metrics_stream_testrun WHERE slug = ?"
            recorded, ended_at = database.execute(query, [slug]).fetchone()
        return ended_at is not None and recorded >= len(values)

    wait_until(is_recorded, 20)
    return slug


def pause_at_the_end(page: Page) -> None:
    """Pause a replay and go to its end."""
    page.get_by_role("button", name="Pause").click()
    expect(badge(page)).to_have_text("Replay, paused")
    slider = page.get_by_label("Time in the replay")
    expect(slider).to_be_enabled()
    # The history grows until now, so time passes this end; nothing was published after it.
    end = slider.get_attribute("max") or ""
    slider.fill(end)
    expect(slider).to_have_value(end)


def test_replay_keeps_out_live_metrics_and_its_link_shows_the_same(page: Page, stack: Stack) -> None:
    publish(stack, 111)
    open_operations(page)
    expect(figure(page)).to_have_text("111tps")
    page.get_by_label("Replay", exact=True).select_option("recent")
    expect(badge(page)).to_have_text("Replay, 1\u00d7")
    expect(page).to_have_title(re.compile(r"^Replay · "))
    pause_at_the_end(page)
    expect(figure(page)).to_have_text("111tps")
    expect(page).to_have_url(re.compile(r"at=.*paused=1"))
    publish(stack, 999)
    other = page.context.new_page()
    other.goto(page.url)
    expect(badge(other)).to_have_text("Replay, paused")
    expect(figure(other)).to_have_text("111tps")
    expect(figure(page)).to_have_text("111tps")
    page.get_by_role("button", name="Back to live").click()
    expect(badge(page)).to_have_text("Live")
    expect(figure(page)).to_have_text("999tps")
    expect(page).to_have_url(re.compile("/operations/$"))
    expect(figure(other)).to_have_text("111tps")


def test_replay_goes_on_after_the_connection_broke(page: Page, stack: Stack) -> None:
    publish(stack, 111)
    open_operations(page)
    expect(figure(page)).to_have_text("111tps")
    page.get_by_label("Replay", exact=True).select_option("recent")
    pause_at_the_end(page)
    expect(figure(page)).to_have_text("111tps")
    stack.stop()
    try:
        expect(badge(page)).to_have_text(re.compile("Reconnecting"))
        publish(stack, 999)
    finally:
        stack.start()
    expect(badge(page)).to_have_text("Replay, paused", timeout=30_000)
    expect(figure(page)).to_have_text("111tps")
    page.keyboard.press("Escape")
    expect(figure(page)).to_have_text("999tps")


def test_run_is_shown_whole_and_played_from_its_start(page: Page, stack: Stack) -> None:
    slug = record_run(stack, 111, 222)
    publish(stack, 999)
    open_operations(page)
    expect(figure(page)).to_have_text("999tps")
    page.get_by_label("Replay", exact=True).select_option(slug)
    expect(badge(page)).to_have_text("Replay, paused")
    expect(page.locator("[data-time-title]")).to_have_text("Checkout soak")
    expect(figure(page)).to_have_text("222tps")
    expect(page.get_by_label("Charts show")).to_have_value("run")
    expect(panel(page, "Throughput", "line").locator("canvas")).to_be_visible()
    page.get_by_label("Speed").select_option("10")
    page.get_by_role("button", name="Play").click()
    expect(badge(page)).to_have_text(re.compile("Replay, (10\u00d7|at its end)"))
    expect(badge(page)).to_have_text("Replay, at its end")
    expect(figure(page)).to_have_text("222tps")
    expect(page).to_have_url(re.compile(f"run={slug}"))


def test_link_to_a_run_shows_it_whole(page: Page, stack: Stack) -> None:
    slug = record_run(stack, 111, 222)
    open_operations(page, f"?run={slug}")
    expect(badge(page)).to_have_text("Replay, paused")
    expect(figure(page)).to_have_text("222tps")
    expect(page).to_have_url(re.compile("window=run"))


def test_link_to_a_run_that_goes_on_asks_for_all_of_it_where_the_clock_is_slow(page: Page, stack: Stack) -> None:
    # Five minutes, as on computers without a synchronized clock.
    page.add_init_script("{ const now = Date.now; Date.now = () => now() - 300_000; }")
    sent: list[dict[str, str]] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda text: sent.append(json.loads(text))))
    slug = stack.manage("start_run", "Long soak").split()[0]
    try:
        open_operations(page, f"?run={slug}")
        expect(badge(page)).to_have_text("Replay, paused")
        [asked] = [message["from"] for message in sent if message["type"] == "replay"]
        assert abs(datetime.fromisoformat(asked).timestamp() - time.time()) < 60
    finally:
        stack.manage("stop_run", slug)


def test_missing_run_is_reported_and_the_page_is_live(page: Page, stack: Stack) -> None:
    publish(stack, 111)
    open_operations(page, "?run=gone&at=2026-01-31T12:00:00Z")
    expect(page.get_by_text("This test run no longer exists. The page is live.")).to_be_visible()
    expect(badge(page)).to_have_text("Live")
    expect(figure(page)).to_have_text("111tps")
    expect(page).to_have_url(re.compile("/operations/$"))


def test_run_that_begins_while_the_page_is_open_can_be_chosen(page: Page, stack: Stack) -> None:
    open_operations(page)
    expect(badge(page)).to_have_text("Live")
    slug = stack.manage("start_run", "Late soak").split()[0]
    try:
        publish(stack, 111)
        expect(page.get_by_label("Replay", exact=True).locator(f'option[value="{slug}"]')).to_have_text(
            re.compile("^Late soak")
        )
        page.get_by_label("Charts show").select_option("run")
        expect(page).to_have_url(re.compile("window=run"))
    finally:
        stack.manage("stop_run", slug)


def test_run_that_began_before_the_history_is_shown_from_its_recording(page: Page, stack: Stack) -> None:
    slug = stack.manage("start_run", "Long soak").split()[0]
    try:
        publish(stack, 111)
        forget_history(stack)
        publish(stack, 222)
        open_operations(page, "?window=3600")
        expect(figure(page)).to_have_text("222tps")
        lack = page.locator("[data-time-lack]")
        expect(lack).to_contain_text("Long soak is recorded from")
        lack.get_by_role("button", name="Show the recording").click()
        expect(page).to_have_url(re.compile(f"run={slug}"))
        expect(badge(page)).to_have_text("Replay, paused")
        expect(lack).to_be_hidden()
    finally:
        stack.manage("stop_run", slug)


def test_keys_pause_seek_and_lead_back(page: Page, stack: Stack) -> None:
    publish(stack, 111)
    open_operations(page)
    expect(figure(page)).to_have_text("111tps")
    page.keyboard.press("Space")
    expect(badge(page)).to_have_text("Paused, 0 updates behind")
    page.keyboard.press("Escape")
    expect(badge(page)).to_have_text("Live")
    page.get_by_label("Replay", exact=True).select_option("recent")
    expect(badge(page)).to_have_text("Replay, 1\u00d7")
    page.locator("h1").click()
    page.keyboard.press("Space")
    expect(badge(page)).to_have_text("Replay, paused")
    slider = page.get_by_label("Time in the replay")
    page.keyboard.press("ArrowLeft")
    expect(slider).to_have_value("0")
    # The history grows until now, so time passes this end; nothing was published after it.
    end = slider.get_attribute("max") or ""
    slider.fill(end)
    expect(slider).to_have_value(end)
    page.keyboard.press("Escape")
    expect(badge(page)).to_have_text("Live")


@pytest.mark.parametrize("slug", ["operations", "presentation"])
def test_phone_width_has_room_for_a_replay(page: Page, stack: Stack, slug: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    publish(stack, 111)
    page.goto(f"/dashboards/{slug}/")
    page.get_by_label("Replay", exact=True).select_option("recent")
    expect(page.get_by_label("Time in the replay")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.get_by_role("button", name="Back to live").click()
    expect(badge(page)).to_have_text("Live")
