"""Names, titles and values that hold scripts, on every page that shows them: they are text, and nothing runs.

What the Content-Security-Policy refuses fails the test as well, see `page` in conftest.py: it is the second line of
defence, and what reaches it got past the first.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import sign_in
from tests.support.stack import Stack

pytestmark = pytest.mark.browser

RUN = "window.__xss=1"

SCRIPTS = [
    f"<script>{RUN}</script>",
    f"</script><script>{RUN}</script>",
    f"--></script><script>{RUN}//",
    f"<ScRiPt/x>{RUN}</ScRiPt >",
    "<script src=/static/metrics_stream/x.js></script>",
    f"<img src=x onerror={RUN}>",
    f"\"><img src=x onerror='{RUN}'>",
    f"'><svg/onload={RUN}>",
    f"<svg><script>{RUN}</script></svg>",
    f"<svg><animate onbegin={RUN} attributeName=x dur=1s>",
    f"<details open ontoggle={RUN}>",
    f'" autofocus onfocus="{RUN}" x="',
    f"' onmouseover='{RUN}' style='position:fixed;inset:0",
    f"<body onload={RUN}>",
    "<iframe srcdoc='<script>parent.__xss=1</script>'>",
    "<iframe src=javascript:parent.__xss=1>",
    f"<a href=javascript:{RUN}>x</a>",
    f"javascript:{RUN}//",
    f"jAvAsCrIpT:{RUN}",
    f"data:text/html,<script>{RUN}</script>",
    f"<object data=javascript:{RUN}>",
    f"<form action=javascript:{RUN}><button>x",
    f"</title></style></textarea><script>{RUN}</script>",
    f"<math><mtext><img src=x onerror={RUN}></math>",
    f"<noscript><p title='</noscript><img src=x onerror={RUN}>'>",
    "<style>*{display:none!important}</style>",
    "x;}*{display:none!important}<link rel=stylesheet href=//a.example/>",
    "<base href=//a.example/>",
    "<meta http-equiv=refresh content=0;url=//a.example>",
    f"{{{{constructor.constructor('{RUN}')()}}}}",
    "{% debug %}{{ settings.SECRET_KEY }}${7*7}#{7*7}",
    f"&lt;script&gt;{RUN}&lt;/script&gt;",
    f"\uff1cscript\uff1e{RUN}\uff1c/script\uff1e",
    f"\u2028{RUN}//\u202e",
    f"`${{{RUN}}}`",
    f"\\x3cscript\\x3e{RUN}\\u003c/script\\u003e",
    "__proto__",
    "constructor",
]

PREPARE = f"""
from django.utils import timezone
from metrics_stream.models import ClientPreset, Dashboard, Panel, TestRun
from metrics_stream.models.panel_kinds import PANEL_KINDS
texts = {SCRIPTS!r}
kinds = list(PANEL_KINDS)
for number, text in enumerate(texts):
    dashboard = Dashboard(title=text, slug=f"xss-{{number}}", description=text)
    dashboard.full_clean()
    dashboard.save()
    preset = ClientPreset(name=text, slug=f"xss-{{number}}", description=text, sources=[text], agent_ids=[text])
    preset.full_clean()
    preset.save()
    run = TestRun(name=text, slug=f"xss-{{number}}", status="completed", tags=[text], sources=[text], notes=text)
    run.started_at = run.ended_at = timezone.now()
    run.full_clean()
    run.save()
first = Dashboard.objects.get(slug="xss-0")
for number, text in enumerate(texts):
    kind = kinds[number % len(kinds)]
    path = "".join(text.split(".")).strip()
    panel = Panel(dashboard=first, title=text, kind=kind, unit=text[:20], order=number, size="small")
    panel.metric_type = "" if kind == "text" else "agent" if kind in ("status", "table") else "system"
    panel.fields = [] if kind == "text" else [path, "throughput_tps"] if kind == "scatter" else [path]
    panel.options = {{"text": text}} if kind == "text" else {{}}
    panel.full_clean()
    panel.save()
run = TestRun.objects.get(slug="xss-0")
run.tags, run.notes, run.sources = texts, "\\n\\n".join(texts), texts
run.full_clean()
run.save()
print(first.pk, ClientPreset.objects.get(slug="xss-0").pk, run.pk, first.panels.first().pk)
"""

REMOVE = """
from metrics_stream.runs import lifecycle as runs
from metrics_stream.models import ClientPreset, Dashboard, TestRun
for model in (Dashboard, ClientPreset, TestRun):
    model.objects.filter(slug__startswith="xss-").delete()
for run in runs.current():
    runs.cancel(run)
"""

PUBLISH = f"""
for number, text in enumerate({SCRIPTS!r}):
    path = "".join(text.split(".")).strip()
    values = {{path: number, "throughput_tps": number, "status": text, text: text}}
    stream.broadcast("system", values, source=text)
    row = {{"name": text, "method": text, "scenario": text, "requests_total": number}}
    stream.broadcast("request", [row], source=text)
    stream.broadcast("error", [{{"name": text, "method": "GET", "message": text, "occurrences_total": 1}}], source=text)
    stream.broadcast("agent", [{{"agent_id": text, path: number, "health_score": 0.5}}], source=text)
    stream.broadcast("agent", [{{"agent_id": f"a-{{number}}", "agent_name": text, "status": text, "message": text}}])
    stream.broadcast("presentation", {{"flow": [{{"id": text, "label": text}}], "hero": {{path: text}}}}, source=text)
"""

# Elements and attributes that no page of ours has, but these strings would make; and what has run.
MADE = """() => [
  ...(globalThis.__xss ? ["a script has run"] : []),
  ...[...document.querySelectorAll(
    "iframe, object, embed, base, math, marquee, meta[http-equiv], body style, [onerror], [onload], [onfocus],"
    + " [onmouseover], [ontoggle], [onbegin], [src='x'], [srcdoc], [href^='javascript:' i], [href^='data:' i],"
    + " [action^='javascript:' i], script:not([src]):not([type='application/json'])"
  )].map((element) => element.outerHTML.slice(0, 200)),
]"""


TEXTS = "(nodes) => nodes.map((node) => node.textContent)"


def nothing_was_made(page: Page) -> None:
    assert page.evaluate(MADE) == [], page.url


@pytest.fixture
def marred(stack: Stack, page: Page) -> Iterator[list[str]]:
    """Fill the stack with such names; return the keys of a dashboard, a preset, a run and a panel."""
    del page  # it empties the history, so it comes first
    keys = stack.manage("shell", "-v", "0", code=PREPARE).split()
    yield keys
    stack.manage("shell", "-v", "0", code=REMOVE)


def test_scripts_in_names_and_values_are_text_everywhere(
    page: Page, stack: Stack, staff: tuple[str, str], marred: list[str]
) -> None:
    run = stack.manage("start_run", f"Run {SCRIPTS[0]}", "--tag", SCRIPTS[5]).strip()
    stack.publish(PUBLISH, source=SCRIPTS[6])

    for slug in ("xss-0", "load-test", "operations", "agents", "presentation"):
        page.goto(f"/dashboards/{slug}/")
        expect(page.get_by_text("Live", exact=True)).to_be_visible()
        expect(page.locator("[data-age]")).to_contain_text("ago")
        expect(page.locator("[data-source-picker]")).to_contain_text(SCRIPTS[0])
        if slug == "xss-0":
            stack.publish(PUBLISH, source=SCRIPTS[6])
        nothing_was_made(page)
    page.goto("/dashboards/xss-0/")
    assert page.locator(".panel__title").evaluate_all(TEXTS) == SCRIPTS
    assert set(SCRIPTS) < set(page.locator(".site-nav__link").evaluate_all(TEXTS))
    page.locator("[data-source-picker]").select_option(SCRIPTS[6])
    nothing_was_made(page)

    page.goto(
        f"/console/?preset=xss-0#types={quote(SCRIPTS[0])}&agents={quote(SCRIPTS[5])}&sources={quote(SCRIPTS[6])}"
    )
    page.goto("/console/")
    page.get_by_role("button", name="Connect", exact=True).click()
    page.get_by_role("button", name="All", exact=True).click()
    expect(page.locator(".entry").filter(has_text="__xss").first).to_be_visible()
    page.locator(".entry").filter(has_text="__xss").first.get_by_role("button").click()
    expect(page.locator(".entry pre").first).to_contain_text("__xss")
    expect(page.get_by_role("group", name="Suggestions for sources")).to_contain_text(SCRIPTS[6])
    page.get_by_role("tab", name="Code").click()
    nothing_was_made(page)

    for address in ("/", "/runs/", "/runs/?page=2", "/runs/xss-0/", "/runs/xss-7/"):
        page.goto(address)
        nothing_was_made(page)

    # What an address says is shown, too; one page shows it as text, the other in an attribute.
    for address in (*(f"/runs/?q={quote(text)}" for text in SCRIPTS), f"/login/?next={quote(' '.join(SCRIPTS))}"):
        page.goto(address, wait_until="domcontentloaded")
        nothing_was_made(page)

    sign_in(page, staff, to="/admin/metrics_stream/")
    dashboard, preset, run_key, panel = marred
    for address in (
        "dashboard/",
        f"dashboard/?q={quote(SCRIPTS[6])}",
        f"dashboard/{dashboard}/change/",
        f"dashboard/{dashboard}/history/",
        f"dashboard/{dashboard}/delete/",
        "panel/",
        f"panel/{panel}/change/",
        "clientpreset/",
        f"clientpreset/{preset}/change/",
        f"clientpreset/{preset}/delete/",
        "testrun/",
        f"testrun/{run_key}/change/",
        f"testrun/{run_key}/history/",
    ):
        page.goto(f"/admin/metrics_stream/{address}")
        nothing_was_made(page)
    page.goto("/admin/")
    nothing_was_made(page)
    # At last, since recording takes a few seconds.
    page.goto(f"/runs/{run}/")
    expect(page.locator(".run-series").first).to_be_visible(timeout=20_000)
    nothing_was_made(page)
