"""The console in a real browser, over a real stack: it connects, speaks the protocol by clicking, and explains."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.support.stack import Stack

pytestmark = pytest.mark.browser

AGENTS = [{"agent_id": "a-1", "success_rate": 0.9}, {"agent_id": "a-2", "success_rate": 0.8}]


def connect(page: Page, address: str = "/console/") -> None:
    page.goto(address)
    page.get_by_role("button", name="Connect", exact=True).click()
    expect(page.get_by_text("Connected", exact=True).first).to_be_visible()


def subscribe(page: Page, label: str) -> None:
    page.get_by_role("checkbox", name=label).check()
    expect(entries(page, "subscription_confirmed").last).to_contain_text(f"metric_types {label.lower()}")


def entries(page: Page, kind: str) -> Locator:
    return page.locator(".entry", has=page.locator(".entry__type", has_text=re.compile(f"^{re.escape(kind)}$")))


def exchange(page: Page, control: str) -> Locator:
    return page.locator(f'[data-exchange="{control}"]')


def send(page: Page, text: str) -> None:
    page.get_by_role("tab", name="Send").click()
    page.get_by_label("Message", exact=True).fill(text)
    page.get_by_label("Message", exact=True).press("Control+Enter")


def let_copy(page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])


def copied(page: Page) -> str:
    text: str = page.evaluate("navigator.clipboard.readText()")
    return text


def test_published_metric_is_seen_after_subscribing_by_clicking(page: Page, stack: Stack) -> None:
    connect(page)
    expect(page.locator('[data-fact="client"]')).to_have_text(re.compile(r"^[0-9a-f]{32}$"))
    expect(page.locator('[data-fact="clock"]')).to_have_text(re.compile(r"^[+-]?\d+\sms ±\d+$"))
    expect(page.get_by_text("Subscribed to nothing yet")).to_be_visible()
    subscribe(page, "System")
    expect(exchange(page, "types")).to_contain_text('{"type":"subscribe","metric_types":["system"],"ref":"types-1"}')
    expect(exchange(page, "types")).to_contain_text("In force: System")
    stack.publish("stream.broadcast_system_metrics({'throughput_tps': 123.5})")
    row = entries(page, "metric_update")
    expect(row).to_contain_text("system from producer · throughput_tps 123.5")
    row.get_by_role("button").click()
    expect(row.locator("pre")).to_contain_text('"throughput_tps": 123.5')
    expect(page.locator('[data-statistic="metrics-total"]')).to_have_text("1, 1.0 a frame")
    expect(page.locator('[data-statistic="age-p50"]')).to_have_text(re.compile(r"\d"))


def test_all_and_none_choose_every_type(page: Page) -> None:
    connect(page)
    page.get_by_role("button", name="All", exact=True).click()
    expect(exchange(page, "types")).to_contain_text("In force: System, Agents, Business, Hero, Presentation")
    page.get_by_role("button", name="None", exact=True).click()
    expect(exchange(page, "types")).to_contain_text("In force: no types")
    for box in page.locator("[data-types] input").all():
        expect(box).not_to_be_checked()


def test_filter_picked_from_suggestions_narrows_what_comes(page: Page, stack: Stack) -> None:
    connect(page)
    page.get_by_role("checkbox", name="Agents").check()
    expect(exchange(page, "types")).to_contain_text("In force: Agents")
    stack.publish(f"stream.broadcast_agent_metrics({AGENTS!r})")
    expect(entries(page, "metric_update")).to_contain_text("2 entries: a-1, a-2")
    page.get_by_role("group", name="Suggestions for agent ids").get_by_role("button", name="a-2").click()
    expect(exchange(page, "filters")).to_contain_text('"filters":{"agent_ids":["a-2"]}')
    expect(exchange(page, "filters")).to_contain_text("In force: agent ids a-2")
    stack.publish(f"stream.broadcast_agent_metrics({AGENTS!r})")
    expect(entries(page, "metric_update").last).to_contain_text("1 entry: a-2")
    expect(page).to_have_url(re.compile(r"#types=agent&agents=a-2$"))


def test_value_out_of_range_shows_what_the_server_made_of_it(page: Page) -> None:
    connect(page)
    field = page.get_by_label("Interval in seconds")
    field.fill("0.01")
    field.press("Enter")
    expect(exchange(page, "interval")).to_contain_text('"interval_seconds":0.01')
    expect(exchange(page, "interval")).to_contain_text("In force: 0.1 s (asked for 0.01)")
    field.blur()
    expect(field).to_have_value("0.1")
    page.get_by_label("Size").fill("5000")
    page.get_by_label("Size").blur()
    expect(exchange(page, "batching")).to_contain_text("In force: size 1000 (asked for 5000)")


def test_dragging_the_slider_sends_few_messages(page: Page) -> None:
    connect(page)
    slider = page.get_by_label("Interval, slider")
    slider.focus()
    for _ in range(30):
        slider.press("ArrowRight")
    expect(exchange(page, "interval")).to_contain_text(re.compile(r"In force: \d"))
    expect(exchange(page, "interval")).to_contain_text("Sent")
    assert entries(page, "set_update_interval").count() < 5


def test_invalid_json_shows_the_error_and_the_fifth_close_is_explained(page: Page) -> None:
    connect(page)
    send(page, '{"type": ')
    expect(page.get_by_text("Not JSON:")).to_be_visible()
    expect(entries(page, "error")).to_contain_text("not_json: not a JSON document")
    expect(page.locator('[data-limit="errors"]')).to_contain_text("1 of 5")
    expect(page.locator(".sent__item")).to_have_text('{"type":')
    for _ in range(4):
        page.get_by_role("button", name="Send", exact=True).click()
    words = page.locator("[data-words]")
    expect(words).to_contain_text("Closed with 4501: Bad protocol.")
    expect(words).to_contain_text("A client must not reconnect by itself")
    expect(entries(page, "closed 4501")).to_be_visible()
    expect(page.get_by_role("button", name="Not connected", exact=True)).to_be_disabled()
    expect(page.get_by_role("button", name="Connect", exact=True)).to_be_enabled()


def test_paused_log_holds_messages_back_until_resumed(page: Page) -> None:
    connect(page)
    expect(entries(page, "pong")).to_be_visible()
    before = page.locator(".entry").count()
    page.get_by_role("button", name="Pause", exact=True).click()
    send(page, '{"type":"ping","ref":"held"}')
    expect(page.locator("[data-foot]")).to_contain_text("Paused: 2 waiting")
    expect(page.locator(".entry")).to_have_count(before)
    page.get_by_role("button", name="Resume", exact=True).click()
    expect(page.locator(".entry")).to_have_count(before + 2)


def test_messages_are_copied_as_they_went_over_the_wire(page: Page) -> None:
    let_copy(page)
    connect(page)
    send(page, '{"type":"ping","ref":"copy-me"}')
    # The page sends pings of its own.
    row = entries(page, "ping").filter(has_text="copy-me")
    row.locator(".entry__head").click()
    row.get_by_role("button", name="Copy", exact=True).click()
    expect(row.get_by_role("button", name="Copied")).to_be_visible()
    assert copied(page) == '{"type":"ping","ref":"copy-me"}'
    expect(entries(page, "pong").filter(has_text="copy-me")).to_be_visible()
    page.get_by_placeholder("Find text").fill("copy-me")
    expect(page.locator(".entry")).to_have_count(2)
    page.get_by_role("button", name="Copy all").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    lines = copied(page).splitlines()
    assert [re.sub(r"^\S+ ", "", line).split(" ")[0] for line in lines] == ["sent", "received"]


def test_log_shows_only_the_chosen_kinds(page: Page) -> None:
    connect(page)
    expect(entries(page, "pong")).to_be_visible()
    page.get_by_role("button", name="Replies").click()
    expect(entries(page, "welcome")).to_have_count(0)
    expect(entries(page, "ping")).to_have_count(1)
    page.get_by_role("button", name="Replies").click()
    expect(entries(page, "welcome")).to_have_count(1)


def test_log_is_walked_with_the_keyboard(page: Page) -> None:
    connect(page)
    expect(entries(page, "pong")).to_be_visible()
    page.get_by_label("Messages, oldest first.").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(entries(page, "welcome").locator("pre")).to_contain_text('"protocol": 1')


def test_markup_in_metrics_stays_text(page: Page, stack: Stack) -> None:
    evil = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    connect(page)
    page.get_by_role("checkbox", name="Agents").check()
    expect(exchange(page, "types")).to_contain_text("In force: Agents")
    metrics = [{"agent_id": evil, evil: evil}]
    stack.publish(f"stream.broadcast_agent_metrics({metrics!r}, source={evil[:60]!r})")
    row = entries(page, "metric_update")
    expect(row).to_contain_text("<img src=x")
    row.locator(".entry__head").click()
    expect(row.locator("pre")).to_contain_text("<script>")
    expect(page.get_by_role("group", name="Suggestions for agent ids").get_by_role("button")).to_have_text([evil])
    expect(page).to_have_title(re.compile("Console"))
    assert page.locator("main img, main script").count() == 0


def test_link_of_a_preset_connects_with_it(page: Page) -> None:
    connect(page, "/console/?preset=raw")
    expect(page.get_by_label("Preset")).to_have_value("raw")
    expect(page.get_by_label("Address")).to_have_value(re.compile(r"/ws/metrics/\?preset=raw$"))
    expect(page.get_by_text("Preset: Raw.")).to_be_visible()
    expect(page.get_by_label("Interval in seconds")).to_have_value("0.1")
    expect(exchange(page, "batching")).to_contain_text("In force: size 10, timeout 0 s, mode all")


def test_link_carries_what_was_chosen_and_code_says_it(page: Page) -> None:
    connect(page, "/console/#types=hero&sources=h1,h2&interval=0.5&batch=20,1,latest")
    expect(exchange(page, "types")).to_contain_text("In force: Hero")
    expect(exchange(page, "filters")).to_contain_text("In force: sources h1, h2")
    expect(exchange(page, "interval")).to_contain_text("In force: 0.5 s")
    expect(exchange(page, "batching")).to_contain_text("In force: size 20, timeout 1 s, mode latest")
    page.get_by_role("tab", name="Code").click()
    for name in ("JavaScript", "Python"):
        expect(page.get_by_role("region", name=name)).to_contain_text("set_update_interval")
        expect(page.get_by_role("region", name=name)).to_contain_text("latest")
    page.get_by_role("button", name="Reset", exact=True).click()
    expect(page).to_have_url(re.compile(r"/console/$"))
    expect(page.get_by_text("Subscribed to nothing yet")).to_be_visible()


def test_summaries_can_be_chosen(page: Page) -> None:
    connect(page, "/console/?preset=raw#batch=1,0,aggregate&interval=1")
    expect(page.get_by_label("Mode")).to_have_value("aggregate")
    expect(exchange(page, "batching")).to_contain_text("mode aggregate")
    expect(page.get_by_text("A summary has the mean, lowest and highest value")).to_be_visible()
    page.get_by_label("Mode").select_option("all")
    expect(exchange(page, "batching")).to_contain_text("mode all")
    page.get_by_label("Mode").select_option("aggregate")
    expect(exchange(page, "batching")).to_contain_text("mode aggregate")


def test_address_that_nobody_answers_is_explained(page: Page, stack: Stack) -> None:
    page.goto("/console/")
    page.get_by_label("Address").fill(stack.url.replace("http:", "ws:") + "/ws/nothing/")
    page.get_by_role("button", name="Connect", exact=True).click()
    expect(page.locator("[data-words]")).to_contain_text("Could not connect.")
    page.get_by_label("Address").fill("mailto:me")
    page.get_by_role("button", name="Connect", exact=True).click()
    expect(page.locator("[data-words]")).to_contain_text("The browser refuses this address")


@pytest.mark.parametrize("width", [390, 1024, 1920])
def test_nothing_is_wider_than_the_page(page: Page, stack: Stack, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    connect(page)
    page.get_by_role("button", name="All", exact=True).click()
    expect(exchange(page, "types")).to_contain_text("In force: System")
    stack.publish(f"stream.broadcast_agent_metrics([{{'agent_id': 'x' * 200, 'note': 'y' * 900}}, *{AGENTS!r}])")
    row = entries(page, "metric_update")
    expect(row).to_be_attached()
    row.locator(".entry__head").click()
    expect(row.locator("pre")).to_be_visible()
    for name in ("Subscription", "Send", "Code"):
        page.get_by_role("tab", name=name).click()
        assert page.evaluate("document.documentElement.scrollWidth") == page.evaluate("innerWidth")
        box = page.locator(".console-side").bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width


def test_an_address_of_another_site_is_refused_with_the_reason(page: Page, stack: Stack) -> None:
    page.goto("/console/")
    page.get_by_label("Address").fill("ws://metrics.example.com/ws/metrics/")
    page.get_by_role("button", name="Connect", exact=True).click()
    expect(page.locator("[data-words]")).to_have_text(
        f"The browser refuses this address: only this site\u2019s own server, 127.0.0.1:{stack.port}, is allowed"
    )


LOG = """async ([count, length, isPaused]) => {
  const {Log} = await import("/static/metrics_stream/pages/console/log.js");
  const root = document.querySelector("[data-log]").cloneNode(true);
  document.body.append(root);
  const find = (name) => root.querySelector(`[data-${name}]`);
  const log = new Log(root, document.createElement("p"), () => {});
  const frame = () => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
  const fill = async (entries) => {
    const entry = {direction: "in", kind: "metrics", type: "metric_batch", summary: "", bytes: 1, atMs: 0};
    // Texts are lazy copies of each other, so that this takes no memory.
    for (let number = 0; number < entries; number += 1) log.add({...entry, text: "x".repeat(length)});
    await frame();
  };
  log.start();
  const press = (key) => find("entries").dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
  const tabindex = () => find("entries").getAttribute("tabindex");
  if (isPaused) find("pause").click();
  await fill(count);
  const foot = find("foot").textContent;
  press("Home");
  const walked = tabindex();
  await fill(count);
  const gone = tabindex();
  press("Home");
  find("clear").click();
  const cleared = tabindex();
  root.remove();
  return {foot, tabindex: [walked, gone, cleared]};
}"""


def test_log_can_be_reached_by_keyboard_after_the_row_that_was_read_has_gone(page: Page) -> None:
    page.goto("/console/")
    assert page.evaluate(LOG, [500, 10, False])["tabindex"] == ["-1", "0", "0"]


def test_paused_log_holds_no_more_than_one_that_goes_on(page: Page) -> None:
    page.goto("/console/")
    assert page.evaluate(LOG, [20, 1_000_000, True])["foot"] == "Paused: 8 waiting, 12 removed · 0 shown"
