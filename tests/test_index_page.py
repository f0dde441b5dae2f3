"""The description of the package on an index page: what becomes of links, pictures and addresses."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

ROOT = Path(__file__).parents[1]
RELATIVE = re.compile(r"\]\((?!https?:|#)")


@pytest.fixture
def hook(monkeypatch):
    """The hook, as hatchling loads it from its path; of hatchling it needs nothing but the base class."""
    interface = ModuleType("hatchling.metadata.plugin.interface")
    interface.MetadataHookInterface = SimpleNamespace
    for name in ("hatchling", "hatchling.metadata", "hatchling.metadata.plugin"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, interface.__name__, interface)
    spec = importlib.util.spec_from_file_location("index_page", ROOT / "docs" / "index_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ReadmeHook(root=str(ROOT))


def metadata_of(hook):
    metadata = {"version": "7.8.9"}
    hook.update(metadata)
    return metadata


def test_without_an_address_no_link_is_dead(hook, monkeypatch):
    monkeypatch.delenv("GRAPHENGINE_REPOSITORY", raising=False)
    metadata = metadata_of(hook)
    assert metadata["urls"] == {}
    assert not RELATIVE.search(metadata["readme"]["text"])
    assert "](docs/" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_links_and_pictures_lead_to_files_of_the_version(hook, monkeypatch):
    monkeypatch.setenv("GRAPHENGINE_REPOSITORY", "https://example.com/team/graphengine/")
    metadata = metadata_of(hook)
    text = metadata["readme"]["text"]
    pictures = re.findall(r"^!.*/graphengine/raw/v7\.8\.9/([^)]*)\)$", text, re.MULTILINE)
    linked = re.findall(r"\]\(https://example\.com/team/graphengine/blob/v7\.8\.9/([^)#]*)", text)
    assert metadata["urls"]["Changelog"] == "https://example.com/team/graphengine/blob/v7.8.9/CHANGELOG.md"
    assert not RELATIVE.search(text)
    assert pictures
    assert len(linked) > 20
    assert [path for path in pictures + linked if not (ROOT / path).exists()] == []
