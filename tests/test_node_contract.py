"""The node contract: what a class may be, what registration refuses, and that what it accepts works in a graph."""

import re
import subprocess
import sys
import typing
from pathlib import Path

import numpy as np
import pytest
from documents import document, model, problem_of
from pydantic import ValidationError

import graphengine as ge
from graphengine.format.catalogue import describe
from graphengine.ir.nodes import infer
from graphengine.ops.families.arithmetic import Add, Mul
from graphengine.ops.families.reductions import Mean
from graphengine.ops.inference import elementwise
from graphengine.ops.registry import OPS
from graphengine.ops.shapes import ArrayType
from graphengine.ops.traits import OpTrait


class TopTwo(ge.Node):
    """The two largest values and their places."""

    outputs = ("values", "indices")

    def forward(self, x):
        indices = np.argsort(-x, kind="stable")[:2]
        return x[indices], indices

    def backward(self, grad_values, x, indices):
        gradient = np.zeros_like(x)
        gradient[indices] = grad_values
        return gradient


class Total(ge.Node):
    """Sum of any number of values."""

    def forward(self, *xs):
        return sum(xs[1:], start=xs[0])

    def backward(self, grad, xs):
        return (grad,) * len(xs)


class Affine(ge.Node):
    """z = scale * x + bias, the bias optional."""

    scale: float = 1.0

    def forward(self, x, bias=None):
        return self.scale * x if bias is None else self.scale * x + bias

    def backward(self, grad, bias):
        return self.scale * grad, None if bias is None else grad


def test_traits_are_declared_when_an_op_is_registered():
    ge.register("test.declared", traits=("finite", "correctly_rounded"))(type("Declared", (Affine,), {}))
    try:
        assert OPS["test.declared"].cls.traits == {"finite", "correctly_rounded"}
        assert Affine.traits == frozenset()
        with pytest.raises(
            ge.errors.RegistrationError, match=r"GE701: op 'test\.x' declares the unknown trait 'poles'"
        ):
            ge.register("test.x", traits=("poles",))(type("Other", (Affine,), {}))
    finally:
        OPS.remove("test.declared")


def test_a_class_keeps_its_traits_when_it_is_registered_under_another_name():
    cls, before = OPS["square"].cls, OPS["square"].cls.traits
    ge.register("test.squared", numpy=np.spacing)(cls)
    try:
        assert cls.traits == before > {OpTrait.PRIMITIVE}
    finally:
        OPS.remove("test.squared")


def test_a_field_training_implies_a_trait():
    has_mode = {name for name, op in OPS.items() if OpTrait.HAS_MODE in op.cls.traits}
    with_field = {name for name, op in OPS.items() if "training" in op.cls.model_fields}
    assert has_mode == {*with_field, "random_key"} > {"random_key"}


def test_the_docs_list_all_traits():
    rows = re.findall(
        r"^\| (`[a-z_`, ]+`) \|",
        Path(__file__).parents[1].joinpath("docs", "custom_nodes.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert {*OpTrait} <= {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def refused(forward=None, backward=None, **namespace):
    """The message of the error that registering a class of these methods raises."""
    methods = {"forward": forward, "backward": backward}
    namespace |= {name: method for name, method in methods.items() if method is not None}
    cls = type(ge.Node)("Custom", (ge.Node,), {"__module__": __name__, "__qualname__": "Custom", **namespace})
    with pytest.raises(ge.errors.RegistrationError) as caught:
        ge.register("custom")(cls)
    assert "custom" not in OPS
    assert caught.value.problems[0].code == "GE701"
    return str(caught.value)


def double(self, x):
    return 2 * x


# ---------------------------------------------------------------- a class of one's own


def test_a_dozen_lines_add_an_op_that_works_through_a_json_graph():
    @ge.register("cube")
    class Cube(ge.Node):
        """Cube, z = x**3; dz/dx = 3 * x**2."""

        def forward(self, x):
            return x**3

        def backward(self, grad, x):
            return 3 * x**2 * grad

    run = model({"z": ("cube", ["x"]), "loss": ("sum", ["z"])}, parameters={"x": [1.0, -2.0]}).forward()
    np.testing.assert_array_equal(run.value("z"), [1.0, -8.0])
    np.testing.assert_array_equal(run.backward()["x"], [3.0, 12.0])


def test_register_gives_the_class_back():
    assert ge.register("total")(Total) is Total


def test_a_node_works_alone():
    assert Mean(axis=0).forward(np.array([[1.0, 2.0], [3.0, 4.0]])).tolist() == [2.0, 3.0]
    assert Mul().backward(2.0, 3.0, 5.0) == (10.0, 6.0)


def test_an_op_of_a_domain_needs_its_import():
    ge.register("acme.total")(Total)
    content = document({"z": ("acme.total", ["a"])}, parameters={"a": 1.0})
    found = problem_of(content)
    assert (found.code, found.pointer) == ("GE105", "/nodes/0/op")
    assert '"acme": 1' in found.hint
    content["opset_imports"]["acme"] = 1
    assert ge.Model.from_dict(content).forward()["out"] == 1.0


# ---------------------------------------------------------------- names


@pytest.mark.parametrize("name", ["Cube", "cube!", "1cube", "acme.", ".cube", "a b", "", "acme.Cube", "cube\n"])
def test_a_name_that_is_not_lower_snake_case_is_refused(name):
    with pytest.raises(ge.errors.RegistrationError, match="is not a name for an op"):
        ge.register(name)(Total)


@pytest.mark.parametrize("annotation", [np.ndarray, "Undefined"])
def test_a_field_of_a_type_that_a_file_cannot_hold_is_refused(annotation):
    body = {"__annotations__": {"weights": annotation}, "__module__": __name__, "forward": lambda self, x: x}
    with pytest.raises(ge.errors.RegistrationError, match="Bad: a field has a type that a file cannot hold"):
        ge.register("bad")(type(ge.Node)("Bad", (ge.Node,), body))
    assert "bad" not in OPS


def test_a_second_registration_of_a_name_is_refused():
    with pytest.raises(
        ge.errors.RegistrationError, match=r"'mul' is registered already, by .*arithmetic\.Mul"
    ) as caught:
        ge.register("mul")(Total)
    assert caught.value.problems[0].code == "GE702"
    assert "replace=True" in caught.value.problems[0].hint
    assert OPS["mul"].cls is Mul


def cell(factor):
    """What a notebook does when a cell is run, perhaps after it was changed."""

    @ge.register("notebook.scaled")
    class Scaled(ge.Node):
        def forward(self, x):
            return factor * x

        def backward(self, grad):
            return factor * grad

    return Scaled


def test_a_class_that_is_defined_again_takes_the_place_of_the_one_before():
    content = document({"z": ("notebook.scaled", ["x"])}, inputs={"x": []})
    content["opset_imports"]["notebook"] = 1
    cell(2.0)
    before = ge.Model.from_dict(content)
    again = cell(3.0)
    assert OPS["notebook.scaled"].cls is again
    assert ge.Model.from_dict(content).predict(x=1.0)["out"] == 3
    assert before.predict(x=1.0)["out"] == 2  # a model keeps the code it was loaded with

    class Other(ge.Node):
        def forward(self, x):
            return x

    with pytest.raises(ge.errors.RegistrationError, match=r"GE702: op 'notebook\.scaled' is registered already"):
        ge.register("notebook.scaled")(Other)


TYPED = """
from typing import Any

import numpy as np

import graphengine as ge
from graphengine.ops.shapes import ArrayType
from graphengine.ops.traits import OpTrait


@ge.register("typed.cube")
class Cube(ge.Node):
    factor: float = 1.0

    def forward(self, x):
        return self.factor * x**3

    def backward(self, grad, x):
        return grad * 3 * self.factor * x**2


@ge.register("typed.sorted")
class Sorted(ge.Node):
    outputs = ("values", "indices")
    merge = "rows"

    def forward(self, x: np.ndarray, *others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.sort(x), np.argsort(x)

    def backward(self, grad_values: np.ndarray, needs: tuple[bool, ...]) -> tuple[np.ndarray, ...]:
        return (grad_values,)

    def infer(self, x: ArrayType, *others: ArrayType) -> tuple[ArrayType, ArrayType]:
        return x, x

    def workspace(self, x: ArrayType) -> list[ArrayType]:
        return [x]


@ge.register("typed.noisy")
class Noisy(ge.Node):
    random = True

    def forward(self, x: Any, y: Any = None, key: Any = None) -> Any:
        return x

    def merge(self, axes: Any, x: Any) -> Any:
        return "rows"


Cube(factor=2.0).forward(np.ones(3))
"""


def test_type_checkers_find_nothing_wrong_with_a_node(tmp_path):
    """The node compiles, too: what is declared for type checkers is not there when it runs."""
    path = tmp_path / "typed.py"
    path.write_text(TYPED)
    exec(compile(TYPED, str(path), "exec"), {"__name__": "typed"})
    pytest.importorskip("pyright")

    def checked(text):
        path.write_text(text)
        command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, path]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path).stdout

    assert checked(TYPED).splitlines()[-1] == "0 errors, 0 warnings, 0 informations"
    assert 'No parameter named "factors"' in checked(TYPED.replace("factor=2.0", "factors=2.0"))


def test_a_second_registration_with_replace_replaces():
    ge.register("add", replace=True)(Total)
    assert OPS["add"].cls is Total
    assert model({"z": ("add", [1, 2, 3])}).forward()["out"] == 6


def test_what_used_a_replaced_op_is_not_recorded_as_the_one_in_its_place():
    @ge.register("square", replace=True)
    class Shifted(ge.Node):
        def forward(self, x):
            return x * x + 1

    tangent = model({"z": ("tan", ["x"])}, {"loss": "z"}, parameters={"x": 0.5})
    for _ in range(3):
        assert tangent.forward().backward()["x"] == pytest.approx(1 + np.tan(0.5) ** 2)
    assert "opaque_backward" in [node.op for node in tangent.gradient().nodes]


def test_a_class_that_had_two_names_keeps_the_one_that_is_not_removed():
    ge.register("plus")(Add)
    OPS.remove("plus")
    assert ge.check_gradients(Add(), np.array(1.0), np.array(2.0))


def test_an_op_that_was_removed_is_not_known():
    ge.register("total")(Total)
    OPS.remove("total")
    assert problem_of(document({"z": ("total", [1])})).code == "GE211"


# ---------------------------------------------------------------- what backward may ask for


@pytest.mark.parametrize(
    ("asked", "allowed"),
    [("y", "grad, x, out, needs"), ("gradient", "grad, x, out, needs"), ("z", "grad, x, out, needs")],
)
def test_backward_may_not_ask_for_an_unknown_name(asked, allowed):
    def backward(self, grad, wrong):
        return grad

    backward.__signature__ = _signature("self", "grad", asked)
    assert f"cannot ask for '{asked}'; it may ask for {allowed}" in refused(double, backward)


def test_the_refusal_is_a_type_error():
    def backward(self, grad, y):
        return grad

    with pytest.raises(TypeError):
        ge.register("custom")(type(ge.Node)("Custom", (ge.Node,), {"forward": double, "backward": backward}))


def test_with_several_outputs_backward_may_ask_for_their_names_and_not_for_grad():
    def backward(self, grad):
        return grad

    message = refused(double, backward, outputs=("values", "indices"), __annotations__={})
    assert "it may ask for grad_values, grad_indices, x, values, indices, needs" in message


def test_backward_may_not_take_a_variable_number_of_arguments():
    def backward(self, *xs):
        return xs

    assert "cannot ask for '*xs'" in refused(double, backward)


def _signature(*names):
    import inspect

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Signature([inspect.Parameter(name, kind) for name in names])


def test_backward_gets_by_name_what_it_asks_for_in_any_order():
    seen = {}

    @ge.register("witness")
    class Witness(ge.Node):
        def forward(self, x, y):
            return x * y

        def backward(self, needs, out, y, grad, x):
            seen.update(needs=needs, out=out, y=y, grad=grad, x=x)
            return grad * y, grad * x

    run = model({"z": ("witness", ["a", "b"])}, inputs={"b": []}, parameters={"a": 3.0}).forward(b=5.0)
    assert run.backward()["a"] == 5.0
    assert seen == {"needs": (True, False), "out": 15.0, "y": 5.0, "grad": 1.0, "x": 3.0}


# ---------------------------------------------------------------- what forward may be


def test_an_input_cannot_have_a_default_other_than_none():
    def forward(self, x, power=2):
        return x**power

    assert "make it a field of the class: power: float = 2" in refused(forward)


def test_an_input_cannot_be_keyword_only():
    def forward(self, x, *, power):
        return x**power

    assert "power is not an input; inputs are positional, attributes are fields" in refused(forward)


def test_forward_cannot_take_any_keywords():
    def forward(self, x, **options):
        return x

    assert "**options is not an input" in refused(forward)


@pytest.mark.parametrize("name", ["grad", "needs", "out", "id", "op", "inputs", "outputs", "grad_x"])
def test_an_input_cannot_have_a_reserved_name(name):
    def forward(self, x):
        return x

    forward.__signature__ = _signature("self", name)
    assert f"an input cannot be named '{name}'" in refused(forward)


def test_an_attribute_cannot_have_the_name_of_an_input():
    assert "an attribute cannot be named 'x'" in refused(double, x=1.0, __annotations__={"x": float})


def test_an_attribute_cannot_have_a_reserved_name():
    assert "an attribute cannot be named 'needs'" in refused(double, needs=1.0, __annotations__={"needs": float})


def test_a_random_op_says_so_and_takes_a_key():
    def forward(self, x, key=None):
        return x

    assert "say random = True in the class, or give the input another name" in refused(forward)
    assert "takes its key as an optional input: def forward(self, ..., key=None)" in refused(double, random=True)
    field = {"random": True, "__annotations__": {"random": bool}}
    with pytest.warns(UserWarning, match="shadows"):
        assert "an attribute cannot be named 'random'" in refused(double, **field)


def test_a_required_input_named_key_is_an_input_like_any_other():
    @ge.register("lookup")
    class Lookup(ge.Node):
        def forward(self, key, values):
            return values[key]

    assert Lookup.signature.key is None
    assert describe(OPS["lookup"])["random"] is False


def test_a_class_without_forward_is_refused():
    assert "has no forward method" in refused()


def test_a_static_forward_is_refused():
    assert "forward must be a plain method" in refused(staticmethod(lambda x: x))


@pytest.mark.parametrize("cls", [int, object, 3, double])
def test_what_is_not_a_node_class_is_refused(cls):
    with pytest.raises(ge.errors.RegistrationError, match=r"is not a subclass of graphengine\.Node"):
        ge.register("custom")(cls)


@pytest.mark.parametrize(
    "outputs", [(), ["values"], "values", ("a", 1), ("not a name",), ("values", "values"), ("x", "y")]
)
def test_outputs_must_be_a_tuple_of_different_names(outputs):
    refused(double, outputs=outputs, __annotations__={"outputs": typing.ClassVar[tuple]})


# ---------------------------------------------------------------- no state


def _plain(self, x):
    self.x = x
    return x


def _underscore(self, x):
    self._x = x
    return x


def _tuple_assignment(self, x):
    self.x, rest = x, 0
    return x + rest


def _loop_variable(self, x):
    for self.x in (x,):
        pass
    return x


def _object_setattr(self, x):
    object.__setattr__(self, "x", x)
    return x


def _dictionary(self, x):
    self.__dict__["x"] = x
    return x


def _nested(self, x):
    def keep():
        self.x = x

    keep()
    return x


def _other_name_for_self(node, x):
    node.x = x
    return x


STORING = [
    _plain,
    _underscore,
    _tuple_assignment,
    _loop_variable,
    _object_setattr,
    _dictionary,
    _nested,
    _other_name_for_self,
]


@pytest.mark.parametrize("forward", STORING, ids=lambda method: method.__name__)
def test_a_class_that_stores_state_in_forward_is_refused(forward):
    assert "a node holds no state" in refused(forward)


def test_a_class_that_stores_state_in_backward_is_refused():
    def backward(self, grad):
        self.grad = grad
        return grad

    assert "stores self.grad" in refused(double, backward)


def test_the_message_holds_the_rewritten_signature():
    def forward(self, x, y):
        self.x, self._y = x, y
        return x * y

    def backward(self, grad):
        return grad * self._y, grad * self.x

    assert "def backward(self, grad, x, y)" in refused(forward, backward)


def test_the_rewritten_signature_asks_only_for_what_was_stored():
    def forward(self, x, y):
        self._y = y
        return x * y

    message = refused(forward)
    assert "stores self._y" in message
    assert "def backward(self, grad, y)" in message


def test_setting_an_attribute_of_something_else_is_allowed():
    class Scratch(ge.Node):
        def forward(self, x):
            y = np.array(x)
            y.shape = (-1,)
            return y.sum()

    assert ge.register("scratch")(Scratch) is Scratch


# ---------------------------------------------------------------- attributes


def test_a_node_is_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        Mean().axis = 1


def test_equal_attributes_make_equal_nodes_that_hash_the_same():
    assert Mean(axis=(0, 1)) == Mean(axis=[0, 1])
    assert hash(Mean(axis=(0, 1))) == hash(Mean(axis=[0, 1]))


@pytest.mark.parametrize(
    ("attributes", "pointer", "said"),
    [
        ({"axes": 0}, "/nodes/0/attributes/axes", "unknown key 'axes'; did you mean 'axis'?"),
        ({"axis": "0"}, "/nodes/0/attributes/axis", 'must be an integer or an array, not "0"'),
        ({"axis": 0.5}, "/nodes/0/attributes/axis", "not 0.5"),
        ({"axis": [0, "1"]}, "/nodes/0/attributes/axis/1", 'must be an integer, not "1"'),
        ({"keepdims": 1}, "/nodes/0/attributes/keepdims", "must be true or false, not 1"),
    ],
)
def test_attributes_are_validated_by_the_fields_of_the_class(attributes, pointer, said):
    content = document({"m": ("mean", ["x"], attributes)}, inputs={"x": ["N"]})
    found = problem_of(content)
    assert (found.code, found.node) == ("GE213", "m")
    assert found.pointer == pointer
    assert said in f"{found.message}; {found.hint}"


class Choosy(ge.Node):
    order: typing.Literal[1, 2] = 2
    flags: tuple[typing.Literal[0, True, "auto"], ...] = ()
    either: typing.Literal[1] | float | None = None

    def forward(self, x):
        return x


@pytest.mark.parametrize(
    ("attributes", "kept"),
    [({"order": 1}, 1), ({"flags": [0, True, "auto"]}, (0, True, "auto")), ({"either": 1}, 1), ({"either": 1.5}, 1.5)],
)
def test_a_literal_is_taken_as_it_is_written(attributes, kept):
    (name,) = attributes
    assert repr(getattr(Choosy.model_validate(attributes), name)) == repr(kept)


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"order": True}, "true is not possible here"),
        ({"order": 2.0}, "2.0 is not possible here"),
        ({"order": False}, "false is not possible here"),
        ({"order": 3}, "3 is not possible here"),
        ({"order": [1]}, "[1] is not possible here"),
        ({"flags": [1]}, "1 is not possible here"),
        ({"flags": ["auto", False]}, "false is not possible here"),
        ({"flags": ["other"]}, '"other" is not possible here'),
        ({"either": True}, "must be a number"),
    ],
)
def test_a_literal_that_is_only_equal_to_a_possible_one_is_refused(attributes, said):
    """pydantic compares by equality, so that True and 1.0 were another way to write 1, with another fingerprint."""
    ge.register("choosy")(Choosy)
    problem = problem_of(document({"z": ("choosy", ["x"], attributes)}, inputs={"x": []}))
    assert (problem.code, said in problem.message) == ("GE213", True), problem
    assert problem.pointer.startswith(f"/nodes/0/attributes/{next(iter(attributes))}")


@pytest.mark.parametrize("ord", [True, 2.0, 1.0])
def test_the_order_of_a_norm_is_an_integer(ord):
    problem = problem_of(document({"z": ("norm", ["x"], {"ord": ord})}, inputs={"x": ["N"]}))
    assert (problem.code, problem.pointer, problem.hint) == ("GE213", "/nodes/0/attributes/ord", "possible: 1 or 2")


def test_a_missing_attribute_is_named():
    class Power(ge.Node):
        exponent: float

        def forward(self, x):
            return x**self.exponent

    ge.register("power")(Power)
    found = problem_of(document({"z": ("power", [2.0])}))
    assert (found.code, found.pointer) == ("GE213", "/nodes/0")
    assert "'exponent' is missing" in found.message
    assert model({"z": ("power", [2.0], {"exponent": 3.0})}).forward()["out"] == 8.0


# ---------------------------------------------------------------- variadic, optional, several outputs


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_variadic_op_takes_any_number_of_inputs(count):
    ge.register("total")(Total)
    names = [f"p{index}" for index in range(count)]
    run = model({"z": ("total", names)}, parameters=dict.fromkeys(names, 2.0)).forward()
    assert run["out"] == 2.0 * count
    assert run.backward() == dict.fromkeys(names, 1.0)


def test_variadic_inputs_have_counted_names():
    ge.register("total")(Total)
    assert OPS["total"].signature.input_name(2) == "xs[2]"
    run = model({"z": ("total", {"xs[0]": "a", "xs[1]": 2.0})}, parameters={"a": 1.0}).forward()
    assert run["out"] == 3.0


def test_a_value_used_twice_in_a_variadic_op_gets_the_sum_of_both_gradients():
    ge.register("total")(Total)
    assert model({"z": ("total", ["a", "a", "b"])}, parameters={"a": 1.0, "b": 1.0}).forward().backward() == {
        "a": 2.0,
        "b": 1.0,
    }


@pytest.mark.parametrize("inputs", [["x"], {"x": "x"}])
def test_an_optional_input_may_be_left_out(inputs):
    ge.register("affine")(Affine)
    run = model({"z": ("affine", inputs, {"scale": 3.0})}, parameters={"x": 2.0, "b": 1.0}).forward()
    assert run["out"] == 6.0
    assert run.backward() == {"x": 3.0, "b": 0.0}


@pytest.mark.parametrize("inputs", [["x", "b"], {"bias": "b", "x": "x"}])
def test_an_optional_input_may_be_given(inputs):
    ge.register("affine")(Affine)
    run = model({"z": ("affine", inputs, {"scale": 3.0})}, parameters={"x": 2.0, "b": 1.0}).forward()
    assert run["out"] == 7.0
    assert run.backward() == {"x": 3.0, "b": 1.0}


def test_an_optional_input_before_a_given_one_survives_saving(tmp_path):
    @ge.register("clipped")
    class Clipped(ge.Node):
        def forward(self, x, low=None, high=None):
            return np.clip(x, low, high)

    first = model({"z": ("clipped", {"x": 5.0, "high": 3.0})})
    first.graph.save(tmp_path / "graph.json")
    assert ge.load(tmp_path / "graph.json").forward()["out"] == first.forward()["out"] == 3.0


def test_further_outputs_are_references_with_a_port():
    ge.register("top_two")(TopTwo)
    nodes = {"top": ("top_two", ["x"]), "loss": ("sum", ["top"]), "where": ("mul", ["top:indices", 1])}
    outputs = {"loss": "loss", "best": "top", "places": "top:indices", "again": "where"}
    run = model(nodes, outputs, parameters={"x": [1.0, 4.0, 2.0, 3.0]}).forward()
    assert run["best"].tolist() == [4.0, 3.0]
    assert run["places"].tolist() == run["again"].tolist() == run.value("top:indices").tolist() == [1, 3]
    assert run.backward(of="loss")["x"].tolist() == [0.0, 1.0, 0.0, 1.0]


def test_an_output_without_a_gradient_hands_zeros_to_backward():
    @ge.register("both")
    class Both(ge.Node):
        outputs = ("once", "twice")

        def forward(self, x):
            return x, 2 * x

        def backward(self, grad_once, grad_twice):
            return grad_once + 2 * grad_twice

    nodes = {"b": ("both", ["x"]), "second": ("sum", ["b:twice"]), "all": ("add", ["b", "b:twice"])}
    run = model(nodes, {"second": "second", "all": "all"}, parameters={"x": 5.0}).forward()
    assert run.backward(of="second") == {"x": 2.0}
    assert run.backward(of="b") == {"x": 1.0}
    assert run.backward(of="all") == {"x": 3.0}


def test_a_port_that_the_op_does_not_have_is_undefined():
    ge.register("top_two")(TopTwo)
    content = document({"t": ("top_two", ["x"]), "z": ("neg", ["t:indizes"])}, parameters={"x": [1.0, 2.0, 3.0]})
    found = problem_of(content)
    assert (found.code, found.hint) == ("GE210", "did you mean 't:indices'?")


# ---------------------------------------------------------------- when node code is wrong


def failing(**methods):
    ge.register("custom")(type(ge.Node)("Custom", (ge.Node,), {"infer": elementwise, **methods}))
    return model({"z": ("custom", ["a"])}, parameters={"a": 1.0})


def test_a_wrong_number_of_gradients_is_an_execution_error_that_names_the_node():
    run = failing(forward=lambda self, x: x, backward=lambda self, grad: (grad, grad)).forward()
    with pytest.raises(ge.errors.ExecutionError, match=r"node 'z' \(custom\) backward: .*2 gradients for 1 input"):
        run.backward()


def test_an_exception_in_backward_names_node_op_and_shapes():
    run = failing(forward=lambda self, x: x, backward=lambda self, grad: 1 / 0).forward()
    with pytest.raises(
        ge.errors.ExecutionError, match=r"node 'z' \(custom\) backward: ZeroDivisionError.*shapes grad \(\)"
    ):
        run.backward()


def test_an_exception_in_forward_names_node_op_and_shapes():
    class Fussy(ge.Node):
        infer = elementwise

        def forward(self, x):
            if np.size(x) != 1:
                raise LookupError("too many")
            return x

    ge.register("fussy")(Fussy)
    graph = model({"z": ("fussy", ["x"])}, inputs={"x": ["N"]})
    with pytest.raises(
        ge.errors.ExecutionError, match=r"node 'z' \(fussy\): LookupError: too many \(shapes x \(2,\)\)"
    ) as caught:
        graph.forward(x=[1.0, 2.0])
    assert caught.value.problems[0].node == "z"
    assert isinstance(caught.value.__cause__, LookupError)


# ---------------------------------------------------------------- types of a class without `infer`

FLOAT = np.dtype(np.float64)


@pytest.mark.parametrize(
    ("forward", "given", "expected"),
    [
        (lambda self, x: x.T, ("M", "N"), ("N", "M")),
        (lambda self, x: x.ravel(), ("M", "N"), ("M*N",)),
        (lambda self, x: np.concatenate([x, x]), ("N", 4), ("2*N", 4)),
        (lambda self, x: x.sum(0), ("M", 7), (7,)),
        (lambda self, x: x.sum(), ("M", "N"), ()),
        (lambda self, x: x @ x.T, ("N", "M"), ("N", "N")),
        (lambda self, x: x[:2], (5,), (2,)),
        (lambda self, x: x[1:], ("N",), (None,)),
    ],
)
def test_a_class_without_infer_is_probed_with_symbolic_sizes(forward, given, expected):
    node = type(ge.Node)("Custom", (ge.Node,), {"forward": forward})()
    (kind,) = infer(node, (ArrayType(given, FLOAT),))
    assert (kind.shape, kind.dtype) == (expected, FLOAT)


def test_probing_reports_the_dtype_of_each_output():
    kinds = infer(TopTwo(), (ArrayType(("N",), np.dtype(np.float32)),))
    assert [(kind.shape, kind.dtype) for kind in kinds] == [((2,), np.float32), ((2,), np.int64)]


def test_a_rank_that_depends_on_a_size_cannot_be_probed():
    node = type(ge.Node)("Custom", (ge.Node,), {"forward": lambda self, x: np.zeros((1,) * x.size)})()
    with pytest.raises(ValueError, match="needs an `infer` method"):
        infer(node, (ArrayType(("N",), FLOAT),))


def test_a_class_that_declares_more_outputs_than_it_gives_is_reported_so():
    class Half(ge.Node):
        outputs = ("first", "second")

        def forward(self, x):
            return (x,)

    ge.register("half")(Half)
    found = problem_of(document({"z": ("half", [1.0])}))
    assert found.code == "GE301"
    assert "gives 1 outputs and declares 2" in found.message


def test_shapes_that_a_probed_forward_refuses_are_reported_before_anything_runs():
    ge.register("total")(Total)
    found = problem_of(document({"z": ("total", ["a", "b"])}, inputs={"a": [3], "b": [4]}))
    assert (found.code, found.node, found.pointer) == ("GE301", "z", "/nodes/0")
    assert "(3,) and (4,)" in found.message


# ---------------------------------------------------------------- the table


def test_an_op_describes_itself_from_its_docstring_and_fields():
    reported = describe(OPS["div"])
    assert reported["formula"] == "z = x / y"
    assert reported["derivatives"] == "dz/dx = 1 / y, dz/dy = -x / y**2"
    assert (reported["inputs"], reported["domain"], reported["differentiable"]) == (["x", "y"], "core", True)
    assert set(describe(OPS["mean"])["attributes"]) == {"axis", "keepdims"}


def test_an_op_without_backward_describes_itself_as_not_differentiable():
    ge.register("floor_of")(type(ge.Node)("Floor", (ge.Node,), {"forward": lambda self, x: np.floor(x)}))
    reported = describe(OPS["floor_of"])
    assert (reported["differentiable"], reported["formula"], reported["derivatives"]) == (False, None, None)


@pytest.mark.parametrize(("cls", "arity"), [(Add, "2 inputs (x, y)"), (Total, "0 or more inputs (*xs)")])
def test_arity_in_words(cls, arity):
    ge.register("custom")(cls)
    assert OPS["custom"].signature.arity() == arity


def test_arity_in_words_reports_optional_inputs():
    ge.register("affine")(Affine)
    assert OPS["affine"].signature.arity() == "1 to 2 inputs (x, bias=None)"


def test_state_is_refused_under_whatever_name():
    class Sneaky(ge.Node):
        def forward(self, x):
            me = self
            me._x = x
            return x

    class Augmented(ge.Node):
        def forward(self, x):
            self._x += x
            return x

    class BySetattr(ge.Node):
        def forward(self, x):
            setattr(self, "_x", x)  # noqa: B010 - what is to be refused
            return x

    for cls in (Sneaky, Augmented, BySetattr):
        with pytest.raises(ge.errors.RegistrationError, match="holds no state"):
            ge.register("stateful")(cls)
