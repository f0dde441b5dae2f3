"""Names of values as identifiers of a text: as close to the model's as the language allows, each once."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_OTHER = re.compile(r"\W")
_MACRO = re.compile(
    r"(FP_|M_|U?INT|HUGE_VAL|MATH_|S?NAN|INF|NULL|EOF|W?CHAR_|WINT_|SIZE_|PTRDIFF_|SIG_|X?_?TLOSS|PLOSS|DOMAIN|SING|OVER|UNDER|I$)"
)
"""How names begin that headers of C define."""
_ASCII = re.compile(r"[^A-Za-z0-9_]")


class Names(dict[str, str]):
    """Identifiers by value, made when they are requested; `taken` mean something else in the text."""

    def __init__(self, taken: Iterable[str], *, ascii_only: bool = False) -> None:
        self._taken, self._other = set(taken), _ASCII if ascii_only else _OTHER

    def __missing__(self, value: str) -> str:
        name = self._other.sub("_", unicodedata.normalize("NFKC", value))
        name = unicodedata.normalize("NFKC", name)
        if self._other is _ASCII and _MACRO.match(name):
            name = f"{name}_value"
        if not name.isidentifier() or name.startswith("__") or "v__" in name[:3]:
            name = f"value_{_ASCII.sub('_', name).strip('_')}"
        self[value] = chosen = self._free(name)
        return chosen

    def _free(self, name: str) -> str:
        """Take a name, with a number if it is taken."""
        chosen, count = name, 2
        while chosen in self._taken:
            chosen, count = f"{name}_{count}", count + 1
        self._taken.add(chosen)
        return chosen


def remark(text: str | None) -> str:
    """Return text of a file as a comment or a docstring: one line, in which nothing ends it."""
    line = " ".join((text or "").split())
    shown = "".join(letter if letter.isprintable() else "?" for letter in line)
    return shown.replace("\\", "/").replace('"""', "'''").replace("*/", "* /").rstrip('"')
