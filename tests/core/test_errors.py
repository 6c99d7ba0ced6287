"""The tree of errors at the top of the module is the one that the classes form."""

import inspect
import re

from metrics_stream.core import errors

TREE_LINE = re.compile(r"^(?P<indent>[│ ├└─]*)(?P<name>[A-Z]\w+)", re.MULTILINE)


def drawn_tree():
    """Return (depth, name) for each class in the drawing."""
    return [
        (len(line["indent"]) // 4, line["name"])
        for line in TREE_LINE.finditer(errors.__doc__)
        if line["name"] != "Every"
    ]


def class_tree(parent=errors.MetricsStreamError, depth=0):
    """Return (depth, name) for each class, in the order in which classes are defined."""
    children = [kind for kind in parent.__subclasses__() if kind.__module__ == errors.__name__]
    return [(depth, parent.__name__), *(place for child in children for place in class_tree(child, depth + 1))]


def test_drawing_shows_the_classes():
    assert drawn_tree() == class_tree()


def test_each_class_has_one_line_of_documentation():
    for name, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, errors.MetricsStreamError):
            assert re.fullmatch(r".+\.", kind.__doc__), name
