"""The tree of errors at the top of the module is the one that the classes form."""

import inspect
import re

from metrics_stream.core import errors

TREE_LINE = re.compile(r"^(?P<indent>[│ ├└─]*)(?P<name>[A-Z]\w+)", re.MULTILINE)


def drawn_parents():
    """Return the name of each class in the drawing with that of the class above it."""
    parents, path = {}, []
    for line in TREE_LINE.finditer(errors.__doc__):
        if line["name"] != "Every":
            del path[len(line["indent"]) // 4 :]
            parents[line["name"]] = path[-1] if path else None
            path.append(line["name"])
    return parents


def test_drawing_shows_the_classes():
    defined = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]
    parents = {kind.__name__: kind.__base__.__name__ for kind in defined}
    assert drawn_parents() == {**parents, "MetricsStreamError": None}


def test_each_class_has_one_line_of_documentation():
    for name, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, errors.MetricsStreamError):
            assert re.fullmatch(r".+\.", kind.__doc__), name
