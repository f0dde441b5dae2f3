"""What a package index shows: the README without relative links, and the addresses of the project.

An index page has no folder beside it, so a relative link would be dead there. Whoever builds a release sets the
environment variable `GRAPHENGINE_REPOSITORY` to the address of the repository; then links and pictures lead to the
files of that version. Without it, as in a fork or a local build, links become plain text. The build calls the hook.
"""

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

VARIABLE = "GRAPHENGINE_REPOSITORY"
PICTURE = re.compile(r"^!\[([^\]]*)\]\((?!https?:)([^)]*)\)\n\n?", re.MULTILINE)
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?![a-z]+:|#)([^)]*)\)")


def index_page(text: str) -> str:
    """Return Markdown without pictures of the repository, and its links as plain text."""
    return LINK.sub(r"\1", PICTURE.sub("", text))


def linked_page(text: str, repository: str, version: str) -> str:
    """Return Markdown whose links and pictures lead to the files of a version in a repository of GitHub."""
    text = PICTURE.sub(rf"![\1]({repository}/raw/v{version}/\2)\n\n", text)
    return LINK.sub(rf"[\1]({repository}/blob/v{version}/\2)", text)


def addresses(repository: str, version: str) -> dict[str, str]:
    """Return the addresses that an index lists beside the description."""
    files = f"{repository}/blob/v{version}"
    return {
        "Source": repository,
        "Documentation": f"{repository}/tree/v{version}/docs",
        "Changelog": f"{files}/CHANGELOG.md",
        "Issues": f"{repository}/issues",
        "Security": f"{files}/SECURITY.md",
    }


class ReadmeHook(MetadataHookInterface):
    """Gives the package its long description and its addresses."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the readme and the addresses."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        repository, version = os.environ.get(VARIABLE, "").rstrip("/"), metadata["version"]
        page = linked_page(text, repository, version) if repository else index_page(text)
        metadata["readme"] = {"content-type": "text/markdown", "text": page}
        metadata["urls"] = addresses(repository, version) if repository else {}
