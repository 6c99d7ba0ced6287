"""client/clock.js: the server's clock and that of a replay."""

import pytest
from playwright.sync_api import Page

from tests.support.browser_modules import run

pytestmark = pytest.mark.browser


def test_clock_takes_the_offset_of_the_shortest_round_trip(page: Page):
    code = """
      const clock = new module.Clock(() => 100_000);
      clock.addSample(0, new Date(5_000).toISOString(), 4_000);
      clock.addSample(10_000, new Date(12_050).toISOString(), 10_100);
      clock.addSample(20_000, new Date(23_500).toISOString(), 22_000);
      return [clock.offsetMs, clock.now(), clock.ageMs(101_000), clock.roundTripMs];
    """
    assert run(page, "client/clock", code) == [2_000, 102_000, 1_000, 2_000]


@pytest.mark.parametrize("jump", [3_600_000, -3_600_000])
def test_clock_that_is_set_is_noticed_with_the_next_pong(page: Page, jump: int):
    code = """
      const clock = new module.Clock(() => 0);
      const pong = (serverMs, localMs, roundTripMs) =>
        clock.addSample(localMs - roundTripMs / 2, new Date(serverMs).toISOString(), localMs + roundTripMs / 2);
      pong(5_000_000, 4_998_000, 10);
      pong(5_010_000, 5_008_300, 900);
      const before = clock.offsetMs;
      pong(5_020_000, 5_018_000 + argument, 300);
      const after = clock.offsetMs;
      pong(5_030_000, 5_028_000 + argument, 20);
      return [before, after, clock.offsetMs];
    """
    assert run(page, "client/clock", code, jump) == [2_000, 2_000 - jump, 2_000 - jump]


def test_replay_clock_goes_on_at_its_speed_and_not_back_by_a_moment(page: Page):
    code = """
      let nowMs = 0;
      const clock = new module.ReplayClock(() => nowMs);
      const seen = [];
      const set = (atMs, speed, isJump = false) => {
        clock.set({atMs, untilMs: 100_000, speed}, {isJump});
        seen.push(clock.now());
      };
      set(50_000, 10, true);
      nowMs = 1_000;
      seen.push(clock.now());
      set(59_000, 10);
      set(20_000, 10);
      set(19_000, 10, true);
      set(30_000, 0);
      nowMs = 99_000;
      seen.push(clock.now());
      set(99_500, 1);
      nowMs = 100_000;
      seen.push(clock.now());
      return seen;
    """
    assert run(page, "client/clock", code) == [
        *(50_000, 60_000, 60_000, 20_000, 19_000, 30_000, 30_000, 99_500),
        100_000,
    ]
