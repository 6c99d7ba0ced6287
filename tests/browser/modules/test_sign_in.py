"""pages/connection_badge.js, pages/sign_in.js: what a page says when a sign-in has ended."""

import pytest
from playwright.sync_api import Page

from tests.support.browser_modules import run

pytestmark = pytest.mark.browser


@pytest.mark.parametrize(("can_sign_in", "words"), [(True, "Signed out"), (False, "Link ended")])
def test_refusal_has_a_text_for_people(page: Page, can_sign_in: bool, words: str):
    assert run(page, "pages/connection_badge", "return module.describeRefusal(argument).words", can_sign_in) == words


def test_address_to_sign_in_leads_back(page: Page):
    code = "return module.signInAddress('/login/', new URL('http://x/dashboards/a/?run=b&at=c#d'))"
    assert run(page, "pages/sign_in", code) == "/login/?next=%2Fdashboards%2Fa%2F%3Frun%3Db%26at%3Dc"
