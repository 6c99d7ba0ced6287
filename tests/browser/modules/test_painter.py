"""pages/painter.js: when panels are painted."""

import pytest
from playwright.sync_api import Page

from tests.support.browser_modules import run

pytestmark = pytest.mark.browser


def test_first_picture_is_drawn_at_once_and_later_ones_in_turn(page: Page):
    code = """
      const drawn = [];
      const panels = Array.from({length: 8}, (_, number) => ({paint() {}, draw: () => drawn.push(number) > 0}));
      let isHeld = true;
      const painter = new module.Painter(panels, () => ({isHeld, isStill: false, moment: {}}));
      const frames = async (count) => {
        for (let frame = 0; frame < count; frame += 1) await new Promise(requestAnimationFrame);
      };
      const painted = async () => {
        drawn.length = 0;
        painter.start();
        await frames(2);
        painter.stop();
        return drawn.length;
      };
      const held = await painted();
      isHeld = false;
      return [held, await painted(), await painted()];
    """
    assert run(page, "pages/painter", code) == [0, 8, 3]


def test_panel_that_fails_does_not_stop_the_others(page: Page):
    code = """
      // What a producer can send: an object that no text can be made of.
      const fail = () => String(JSON.parse('{"toString": 1}'));
      let [painted, drawn] = [0, 0];
      const others = {paint: () => { painted += 1; }, draw: () => { drawn += 1; return false; }};
      const panels = [{paint: fail, draw: () => false}, {paint() {}, draw: fail}, others];
      const errors = [];
      const note = (event) => {
        errors.push(event.error.name);
        event.preventDefault();
      };
      addEventListener("error", note);
      const painter = new module.Painter(panels, () => ({isHeld: false, isStill: false, moment: {}}));
      painter.start();
      while (painted < 3 && errors.length < 9) await new Promise(requestAnimationFrame);
      painter.stop();
      removeEventListener("error", note);
      return [painted, drawn, new Set(errors).size];
    """
    assert run(page, "pages/painter", code) == [3, 3, 1]
