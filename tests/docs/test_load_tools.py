"""What docs/producers.md says of load tools works with the real ones: their figures and those of the run are equal."""

import json
import re
import shutil

import pytest

from metrics_stream.core.formats.results.reading import FORMATS
from tests.conftest import skip_or_fail
from tests.core.formats.results.test_reading import FILES
from tests.support.block_steps import blocks_with, make_token
from tests.support.blocks import Workshop
from tests.support.documents import DOCS, PRODUCERS, names, one_line, table

RUNS = DOCS / "runs.md"
HEADING = "Comparing a run with the results of its tool"

# The figures that the run and the file of each tool both have.
TOTALS = {"requests", "failures", "failure ratio", "rate", "duration", "mean", "max"}
TOOLS = {
    "ab": ("ab -n 500", TOTALS | {"p50", "p99"}),
    "hey": ("hey -n 500", TOTALS | {"min", "p50", "p75", "p90", "p99", "p99.9"}),
    "wrk": ("wrk --threads", TOTALS | {"p50", "p99"}),
    "siege": ("siege --concurrent", TOTALS),
    "autocannon": ("autocannon --json", TOTALS | {"p50", "p99", "p99.9"}),
    "artillery": ("artillery run", TOTALS | {"p50", "p99", "p99.9"}),
}
OF_NPM = ("autocannon", "artillery")


def find_tool(name: str) -> None:
    if shutil.which(name) is None:
        if name in OF_NPM:
            pytest.skip(f"there is no {name}; npm install --global {name}")
        skip_or_fail("REQUIRE_LOAD_TOOLS", f"there is no {name}; apt install apache2-utils hey siege wrk")


@pytest.fixture(scope="module")
def variables(workshop: Workshop) -> dict[str, str]:
    """What is exported before the sections on tools, and a token of its own, which takes some seconds to make."""
    workshop.forget()
    # siege writes its configuration there.
    workshop.environment["HOME"] = str(workshop.folder)
    workshop.shell(blocks_with(PRODUCERS, "create_token").code)
    workshop.shell(blocks_with(PRODUCERS, "export TARGET").code)
    return dict(workshop.environment)


@pytest.fixture
def terminal(workshop: Workshop, variables: dict[str, str]) -> Workshop:
    """A terminal at the section on a tool."""
    workshop.forget()
    workshop.environment = dict(variables)
    return workshop


@pytest.mark.valkey
@pytest.mark.parametrize("tool", TOOLS)
def test_the_results_of_a_tool_become_a_run_with_the_same_figures(terminal: Workshop, tool: str):
    find_tool(tool)
    words, figures = TOOLS[tool]
    printed = terminal.shell(blocks_with(PRODUCERS, words).code)
    equal = {re.split(r"  | \(", line)[0] for line in printed.splitlines() if line.endswith(" equal")}
    assert figures <= equal, printed
    assert ", 0 differ" in printed


@pytest.mark.valkey
def test_a_run_is_compared_by_the_command_and_over_http(terminal: Workshop):
    shutil.copy(FILES / "ab.txt", terminal.root / "ab.txt")
    terminal.shell("run=$(.venv/bin/python examples/publish_results.py ab.txt)\nexport run")
    printed = terminal.shell(blocks_with(RUNS, "compare_results").code)
    assert ", 0 differ" in printed
    terminal.environment["METRICS_TOKEN"] = make_token(terminal, "subscribe")
    answer = json.loads(terminal.shell(blocks_with(RUNS, "/compare/").code))
    assert (answer["run"], answer["format"], answer["equal"]) == (terminal.environment["run"], "ab", True)
    assert answer["figures"][0] | {"may_differ": 0} == {
        **{"figure": "requests", "unit": "", "run": 200.0, "tool": 200.0, "difference": 0.0, "percent": 0.0},
        **{"may_differ": 0, "equal": True},
    }


def test_every_format_is_in_the_document():
    assert [names(row["format"])[0] for row in table(RUNS, HEADING, "format")] == list(FORMATS)


def test_every_kind_of_body_is_in_the_document():
    from metrics_stream.api.comparison import KINDS

    text = one_line(RUNS)
    assert [kind for kind in KINDS if f"`{kind}`" not in text] == []
