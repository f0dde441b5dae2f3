"""Every malformed file gives exactly the codes and places that are expected of it."""

import json

import pytest
from corpus.__main__ import corpus
from typer.testing import CliRunner

import graphengine as ge
from graphengine.cli import app
from graphengine.format.reading import parse_model
from graphengine.format.writing import dump_model

FILES = corpus()


def test_the_corpus_is_large_and_each_file_has_something_wrong():
    assert len(FILES) >= 500
    assert all(expected for _, expected in FILES.values())


@pytest.mark.parametrize("name", FILES)
def test_a_malformed_file_gives_the_codes_and_places_expected_of_it(name):
    with pytest.raises(ge.errors.GraphEngineError) as caught:
        ge.Model(*parse_model(FILES[name][0], name, salvage=True))
    found = [(problem.code, problem.line, problem.column) for problem in caught.value.problems]
    assert found == FILES[name][1], str(caught.value)
    assert all(problem.file == name for problem in caught.value.problems)
    assert ge.errors.GraphEngineError(caught.value.problems)


OF_FORM = {"GE110", "GE111", "GE112", "GE120", "GE122", "GE123", "GE124", "GE125", "GE126"}


def test_a_document_is_left_of_every_file_of_which_only_the_form_is_wrong():
    names = [name for name, (_, expected) in FILES.items() if OF_FORM.issuperset(code for code, _, _ in expected)]
    for name in names:
        document, _ = parse_model(FILES[name][0], name, salvage=True)
        assert parse_model(dump_model(document))[0] == document, name
    assert len(names) > 200


def test_without_salvage_only_the_form_is_reported(monkeypatch):
    data, _ = FILES["several-all.json"]
    with pytest.raises(ge.errors.InvalidModelError) as strict:
        parse_model(data)
    monkeypatch.setattr("graphengine.format.reading.salvaged", lambda *places: None)
    with pytest.raises(ge.errors.InvalidModelError) as unsalvageable:
        parse_model(data, salvage=True)
    assert {problem.code for problem in strict.value.problems} == {"GE110", "GE111", "GE112"}
    assert strict.value.problems == unsalvageable.value.problems


def test_the_command_line_refuses_the_whole_corpus_without_a_traceback(tmp_path):
    paths = [str(tmp_path / name) for name in FILES]
    for name, (data, _) in FILES.items():
        (tmp_path / name).write_bytes(data)
    result = CliRunner().invoke(app.app, ["validate", *paths, "--format", "json"], catch_exceptions=False)
    assert result.exit_code == 2
    errors = json.loads(result.stdout)["errors"]
    assert {error["file"] for error in errors} == set(paths)
    assert len(errors) == sum(len(expected) for _, expected in FILES.values())
