"""client/reconnecting_socket.js, client/backoff.js, client/close_codes.js: when to connect again."""

import pytest
from playwright.sync_api import Page

from tests.support.browser_modules import run

pytestmark = pytest.mark.browser


@pytest.mark.parametrize(
    ("tries", "chance", "expected"),
    [(1, 0, 250), (1, 1, 500), (2, 0.5, 750), (3, 1, 2000), (6, 0, 7500), (50, 1, 15_000)],
)
def test_wait_doubles_up_to_a_bound_and_half_of_it_is_random(page: Page, tries: int, chance: float, expected: int):
    assert (
        run(page, "client/backoff", "return module.waitMilliseconds(argument[0], () => argument[1])", [tries, chance])
        == expected
    )


@pytest.mark.parametrize(
    ("code", "expected"),
    [(1000, True), (1001, True), (1006, True), (1012, True), (4001, True), (4499, True), (4500, False), (4999, False)],
)
def test_only_codes_from_4500_to_4999_forbid_a_reconnect(page: Page, code: int, expected: bool):
    assert run(page, "client/close_codes", "return module.mayReturn(argument)", code) is expected


SOCKET = """
  const sockets = [], timers = [], states = [], received = [];
  const fake = {
    setTimeout: (callback, milliseconds) => timers.push({callback, milliseconds}),
    clearTimeout: (number) => { if (number) timers[number - 1].callback = () => {}; },
  };
  const openSocket = () => {
    const socket = {closed: [], send() {}, close: (code) => socket.closed.push(code)};
    sockets.push(socket);
    return socket;
  };
  const options = {
    openSocket, timers: fake, localNow: () => 1_000, random: () => 0, connectTimeoutMs: 5_000,
    mayReconnect: (code) => code < 4500, onMessage: (data) => received.push(data),
    onState: ({name, tries, retryAtMs, ending, problem}) => states.push([name, tries, retryAtMs, ending, problem]),
  };
  const create = (rest = {}) => new module.ReconnectingSocket({...options, ...rest});
"""
BY_SERVER = {"reason": "", "isByServer": True}


def test_socket_that_ends_opens_again_and_counts_its_tries_until_it_is_confirmed(page: Page):
    code = f"""{SOCKET}
      const socket = create();
      socket.start();
      sockets[0].onopen();
      sockets[0].onclose({{code: 1006, reason: ""}});
      timers.at(-1).callback();
      sockets[1].onclose({{code: 1006, reason: ""}});
      socket.retryNow();
      sockets[2].onopen();
      socket.confirm();
      sockets[2].onclose({{code: 4503, reason: "no"}});
      socket.retryNow();
      return [states, sockets.length, socket.send("lost")];
    """
    assert run(page, "client/reconnecting_socket", code) == [
        [
            ["connecting", 0, None, None, ""],
            ["open", 0, None, None, ""],
            ["waiting", 1, 1_250, {**BY_SERVER, "code": 1006, "wasOpen": True}, ""],
            ["connecting", 1, None, None, ""],
            ["waiting", 2, 1_500, {**BY_SERVER, "code": 1006, "wasOpen": False}, ""],
            ["connecting", 2, None, None, ""],
            ["open", 2, None, None, ""],
            ["closed", 1, None, {"code": 4503, "reason": "no", "isByServer": True, "wasOpen": True}, ""],
        ],
        3,
        False,
    ]


def test_server_that_sends_nothing_in_time_counts_as_gone(page: Page):
    code = f"""{SOCKET}
      const socket = create();
      socket.start();
      const [deadline] = timers;
      sockets[0].onmessage({{data: "one"}});
      deadline.callback();
      const before = states.length;
      socket.expectMessageWithin(7_000);
      timers.at(-1).callback();
      const [name, , , ending] = states.at(-1);
      return [deadline.milliseconds, before, received, sockets[0].closed, name, ending];
    """
    assert run(page, "client/reconnecting_socket", code) == [
        *(5_000, 1, ["one"], [1000], "waiting"),
        {"code": 1006, "reason": "the server does not answer", "isByServer": False, "wasOpen": False},
    ]


def test_address_that_the_browser_refuses_ends_the_attempt(page: Page):
    code = f"""{SOCKET}
      const socket = create({{openSocket: () => {{ throw new Error("not an address"); }}}});
      socket.start();
      return [states, timers.length];
    """
    assert run(page, "client/reconnecting_socket", code) == [[["closed", 0, None, None, "not an address"]], 0]


def test_socket_that_is_stopped_leaves_nothing_running(page: Page):
    code = f"""{SOCKET}
      const socket = create();
      socket.start();
      const old = sockets[0].onclose;
      socket.stop();
      for (const timer of timers) timer.callback();
      return [states.length, sockets.length, sockets[0].closed, sockets[0].onclose, old !== null];
    """
    assert run(page, "client/reconnecting_socket", code) == [1, 1, [1000], None, True]
