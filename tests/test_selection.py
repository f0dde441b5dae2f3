"""The selections of `.ci/run`: what compares digits runs on other processors, what is optional runs at all."""

import ast
import importlib.util
import re
import tomllib

import pytest
from selection import OTHERWISE, SAME_BITS, SLOW, TESTS, chosen, compares_digits, marks, may_have_extras, missing

ROOT = TESTS.parent
MODULES = {path.stem: path for path in TESTS.glob("test_*.py")}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SPEC = importlib.util.spec_from_file_location("requirements", ROOT / ".ci" / "requirements.py")
requirements = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(requirements)


@pytest.mark.parametrize(
    ("text", "compares"),
    [
        ("assert loss == pytest.approx(1)", True),
        ("np.testing.assert_allclose(x, y)", True),
        ("from numpy.testing import assert_array_equal\nassert_array_equal(x, y)", True),
        ("assert x.tobytes() == y.tobytes()", True),
        ("assert loss == 0.49382716", True),
        ("assert shown == 'loss 0.49382716'", True),
        ("assert loss == 0.5", False),
        ("assert shown == 'loss 0.49'", False),
        ("assert 'approx' in shown", False),
    ],
)
def test_what_compares_digits_is_seen_by_its_text(text, compares, tmp_path):
    path = tmp_path / "test_x.py"
    path.write_text(text)
    assert compares_digits(path) == compares


def test_every_name_is_that_of_a_module_and_every_exception_is_one():
    assert MODULES.keys() >= OTHERWISE.keys() | SAME_BITS | SLOW
    assert [name for name in OTHERWISE if not compares_digits(MODULES[name])] == []
    assert not SAME_BITS & OTHERWISE.keys()


@pytest.mark.parametrize("name", ["test_docs", "test_solvers", "test_laws", "test_published", "test_same_bits"])
def test_the_modules_that_failed_on_another_processor_are_selected(name):
    assert "digits" in marks(MODULES[name])


def test_the_markers_are_those_of_the_module(request):
    found = {item.path.stem: {mark.name for mark in item.iter_markers()} for item in request.session.items}
    assert all(names & {"digits", "slow"} == marks(MODULES[module]) for module, names in found.items())


def test_every_module_with_extras_is_found(request):
    marked = {item.path for item in request.session.items if item.get_closest_marker("extra")}
    assert {path.name for path in marked if not may_have_extras(path)} == set()


def test_the_modules_of_a_stage_are_those_with_its_markers():
    names = {path.removeprefix("tests/").removesuffix(".py") for path in chosen(["digits", "not slow"])}
    assert names == {name for name, path in MODULES.items() if marks(path) == {"digits"}}
    assert "tests/test_jax.py" in set(chosen(["extra", "not slow"]))


def packages_of(extra):
    return {re.match(r"[\w.-]+", requirement)[0] for requirement in PROJECT["optional-dependencies"].get(extra, [])}


def test_heavy_extras_are_those_with_packages_that_the_tests_do_without():
    tools = {"test", "browser", "lint", "docs", "package", "coverage"}
    known = set().union(*map(packages_of, tools))
    expected = {extra for extra in PROJECT["optional-dependencies"] if not packages_of(extra) <= known}
    assert set(requirements.heavy(PROJECT)) == expected


def marked(path):
    """The packages that tests of a module name in the marker `extra`."""
    calls = [node for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.Call)]
    named = [call for call in calls if ast.unparse(call.func) == "pytest.mark.extra"]
    return {argument.value for call in named for argument in call.args}


def test_every_heavy_extra_has_tests():
    tested = set().union(*map(marked, MODULES.values()))
    for extra in requirements.heavy(PROJECT):
        assert packages_of(extra) & tested, f"no test of the extra '{extra}' has the marker extra"


PACKAGES = "jax|torch|onnx|onnxruntime|numba|dask"
OPTIONAL = re.compile(rf'(?:importorskip|find_spec)\(["\'](sklearn|{PACKAGES})')
IMPORTED = re.compile(rf"^(?:import|from) ({PACKAGES})\b", re.MULTILINE)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_can_be_collected_without_optional_packages(name):
    found = IMPORTED.search(MODULES[name].read_text(encoding="utf-8"))
    assert not found, f"{found[1]} is imported at the top of {name}: the tests that need nothing are lost without it"


@pytest.mark.parametrize("path", sorted(TESTS.glob("*.py")), ids=lambda path: path.stem)
def test_a_test_of_an_optional_package_has_the_marker(path):
    found = OPTIONAL.search(path.read_text(encoding="utf-8"))
    assert not found, f'@pytest.mark.extra("{found[1]}") skips the test and lets .ci/run select it'


def test_what_is_not_installed_is_named():
    assert missing(["pytest", "no_such_package"]) == ["no_such_package"]


def test_the_oldest_versions_are_the_declared_ones():
    project = {"dependencies": ["a>=1.2"], "optional-dependencies": {"test": ["b-c>=3", "a>=1.2"], "jit": ["d>=4"]}}
    assert requirements.oldest(project) == ["a==1.2", "b-c==3"]
    with pytest.raises(ValueError, match="b: an oldest version is missing"):
        requirements.oldest({"dependencies": ["b"], "optional-dependencies": {"test": []}})
    declared = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]
    assert set(requirements.oldest(PROJECT)) == {each.replace(">=", "==") for each in declared}


def test_a_package_has_the_same_oldest_version_wherever_it_is_declared():
    oldest = {}
    for name, declared in PROJECT["optional-dependencies"].items():
        for requirement in declared:
            package, _, version = requirement.partition(">=")
            assert oldest.setdefault(package, version) == version, f"{package} in [{name}]"
