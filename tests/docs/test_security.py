"""Each promise of docs/security.md names a test that exists."""

import ast

from tests.support.documents import DOCS, ROOT, names, table

PAGE = DOCS / "security.md"


def test_each_promise_is_held_by_a_test():
    rows = table(PAGE, "Threat model", "promise")
    assert len(rows) > 15
    for row in rows:
        [name] = names(row["held by"])
        path, _, function = name.partition("::")
        nodes = ast.walk(ast.parse((ROOT / path).read_text()))
        assert function in {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}, (
            name
        )


def test_nobody_is_left_out():
    who = {row["who"] for row in table(PAGE, "Threat model", "who")}
    assert {"viewer", "staff", "token holder", "share guest", "neighbour on Redis", "proxy", "operator"} <= who
