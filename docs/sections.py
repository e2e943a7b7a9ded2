"""Docstrings as the pages show them."""

import re
from typing import Any

from griffe import Extension, Object


def plain_roles(text: str) -> str:
    """Show a role such as ``:class:`DiffGrad``` as plain code."""
    return re.sub(r":(?:class|func|meth|mod):`~?([^`]+)`", r"`\1`", text)


class Sections(Extension):
    """Show an ``Example:`` as code, and the ``Paper:`` in a box of its own."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Rewrite the docstring of an object that has been read."""
        if obj.docstring is not None:
            text = re.sub(r"^Example:$", "Examples:", plain_roles(obj.docstring.value), flags=re.M)
            obj.docstring.value = re.sub(r"^Paper: ", "Paper:\n    ", text, flags=re.M)
