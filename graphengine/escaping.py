"""Text from a file on its way to a terminal, into Markdown, into markup or into a script.

A model file is hostile input: names, descriptions and attributes may hold markup, control characters that a terminal
obeys, and marks that turn the direction of writing. Each place they are shown in has its one function
here; for a terminal it is `graphengine.wording.escaped`.
"""

from __future__ import annotations

import re
from html import escape
from typing import Any

from graphengine.wording import escaped


def markup(text: object) -> str:
    """Text for the content or a quoted attribute of an HTML or SVG element."""
    return escape(escaped(str(text)), quote=True)


def markdown(text: object) -> str:
    """Text for a line of Markdown, in which nothing of it is markup."""
    return re.sub(r"([\\`*_{}\[\]<>#|~!$&])", r"\\\1", escaped(str(text)))


def script_json(value: Any) -> str:
    """A value as JSON for a `script` element: no character in it can end the element or begin a comment."""
    import orjson

    text = orjson.dumps(value).decode()
    replaced = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
    return re.sub("[<>&\u2028\u2029]", lambda found: replaced[found[0]], text)
