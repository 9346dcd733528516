"""Where code chooses by a name, which its registry should do."""

import ast


def names_in(node, names):
    """Return which of names are among the text constants below a node."""
    return {
        part.value
        for part in ast.walk(node)
        if isinstance(part, ast.Constant) and isinstance(part.value, str) and part.value in names
    }


def choices_by(names, tree):
    """Yield each comparison with, and table by, one of names in a syntax tree: its node and the
    names that it has.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            yield node, names_in(node, names)
        elif isinstance(node, ast.Dict):
            yield node, set().union(*(names_in(key, names) for key in node.keys if key))
        elif isinstance(node, ast.Subscript):
            yield node, names_in(node.slice, names)
