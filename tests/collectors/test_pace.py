"""The times of steps, the request to stop, the progress line, and the checks of numbers."""

import io
import os
import signal
import threading
from typing import Any

import pytest

from metrics_stream.collectors import progress
from metrics_stream.collectors.limits import integer_between, number_between
from metrics_stream.collectors.pace import Stop, stop_on_signals, ticks
from metrics_stream.core.errors import CollectorError


class FakeTime:
    """A clock that moves only while code waits; `stop_at` requests the stop at that time."""

    def __init__(self, stop: Stop | None = None, stop_at: float = float("inf")) -> None:
        self.now = 1000.0
        self.waits: list[float] = []
        self._stop = stop
        self._stop_at = 1000.0 + stop_at

    def clock(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.waits.append(round(seconds, 6))
        self.now += seconds
        if self._stop is not None and self.now >= self._stop_at:
            self._stop.request()
            return True
        return False


def taken(interval: float, time: FakeTime, *, work: float = 0.0, stop: Stop | None = None, **options: Any) -> list:
    result = []
    for elapsed in ticks(interval, stop=stop or Stop(), clock=time.clock, wait=time.wait, **options):
        result.append(round(elapsed, 6))
        time.now += work
    return result


def test_ticks_sit_on_the_grid_until_the_duration_is_over() -> None:
    assert taken(0.5, FakeTime(), duration_seconds=2.0) == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert taken(0.1, FakeTime(), duration_seconds=0.3) == [0.0, 0.1, 0.2, 0.3]
    assert taken(1.0, FakeTime(), duration_seconds=3.0, first=1) == [1.0, 2.0, 3.0]


def test_the_time_of_a_step_does_not_add_up_to_drift() -> None:
    time = FakeTime()
    assert taken(0.5, time, work=0.2, duration_seconds=1.5) == [0.0, 0.5, 1.0, 1.5]
    assert time.waits == [0.3, 0.3, 0.3, 0.0]


def test_missed_ticks_are_left_out() -> None:
    assert taken(0.5, FakeTime(), work=1.2, duration_seconds=4.0) == [0.0, 1.0, 2.0, 3.5, 4.0]


def test_a_duration_that_is_no_multiple_ends_on_time() -> None:
    time = FakeTime()
    assert taken(1.0, time, duration_seconds=1.5) == [0.0, 1.0]
    assert time.now == 1001.5


def test_ticks_without_a_duration_go_on_until_stopped() -> None:
    stop = Stop()
    time = FakeTime(stop, stop_at=100.0)
    assert taken(1.0, time, stop=stop) == [float(second) for second in range(100)]


def test_waiting_ends_with_the_request() -> None:
    stop = Stop()
    assert stop.wait(0.0) is False
    threading.Thread(target=stop.request).start()
    assert stop.wait(60.0) is True
    assert stop.wait(60.0) is True, "the first wait does not use up the request"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_stop_and_get_their_handlers_back(number: signal.Signals) -> None:
    former = signal.getsignal(number)
    with stop_on_signals() as stop:
        os.kill(os.getpid(), number)
        assert stop.wait(60.0) is True
        os.kill(os.getpid(), number)  # a second one changes nothing
    assert signal.getsignal(number) is former


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    handlers = []

    def use() -> None:
        with stop_on_signals():
            handlers.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGTERM)]


class Terminal(io.StringIO):
    """A text stream with Django's `ending`."""

    def __init__(self, *, is_tty: bool) -> None:
        super().__init__()
        self._is_tty = is_tty

    def isatty(self) -> bool:
        return self._is_tty

    def write(self, msg: str = "", style_func: Any = None, ending: str | None = None) -> int:
        return super().write(msg + ("\n" if ending is None else ending))


def test_on_a_terminal_one_line_is_rewritten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress.shutil, "get_terminal_size", lambda *_, **__: os.terminal_size((24, 80)))
    output = Terminal(is_tty=True)
    line = progress.ProgressLine(output)
    line.show("first")
    line.show("a text that is too long for it")
    line.close("the end")
    assert output.getvalue() == "\r\x1b[2Kfirst\r\x1b[2Ka text that is too long\r\x1b[2Kthe end\n"


def test_elsewhere_a_line_comes_every_ten_seconds() -> None:
    output, time = Terminal(is_tty=False), FakeTime()
    line = progress.ProgressLine(output, clock=time.clock)
    for second in range(21):
        line.show(f"second {second}")
        time.now += 1
    line.close("the end")
    assert output.getvalue().splitlines() == ["second 0", "second 10", "second 20", "the end"]


@pytest.mark.parametrize("is_tty", [True, False])
def test_quiet_shows_nothing(is_tty: bool) -> None:
    output = Terminal(is_tty=is_tty)
    line = progress.ProgressLine(output, quiet=True)
    line.show("text")
    line.close("the end")
    assert output.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, "0:00"), (7.9, "0:07"), (750.0, "12:30"), (3605.0, "1:00:05"), (360_000.0, "100:00:00")]
)
def test_time_reads_like_a_stopwatch(seconds: float, text: str) -> None:
    assert progress.clock_text(seconds) == text


@pytest.mark.parametrize("value", ["0.5", 0.5, "5e-1"])
def test_numbers_and_their_texts_are_taken(value: Any) -> None:
    assert number_between("x", value, 0.5, 1.0) == 0.5


@pytest.mark.parametrize("value", ["", "one", "0.4", 1.1, "nan", "inf", None, True, [1], 10**400, "1" * 5000])
def test_other_numbers_are_refused_by_name(value: Any) -> None:
    with pytest.raises(CollectorError, match=r"^--rate is .{1,80}; allowed: a number from 0\.5 to 1$"):
        number_between("--rate", value, 0.5, 1.0)


@pytest.mark.parametrize("value", ["", "one", "1.5", 2.0, "0", 11, None, False, "1" * 5000])
def test_other_whole_numbers_are_refused_by_name(value: Any) -> None:
    with pytest.raises(CollectorError, match=r"^--agents is .{1,80}; allowed: a whole number from 1 to 10$"):
        integer_between("--agents", value, 1, 10)
