"""Hostile files that can be made as large as one likes: each has one dimension in which it grows.

The work that a file causes must grow no faster than the file. `tests/test_growing.py` counts it for two sizes, and
`python -m benchmarks hostile` measures time and memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]

DIMENSIONS: dict[str, Callable[[int], Json | str]] = {}
"""By name: from a size to the content of a file, or its text."""

ZEROS = {"type": "zeros"}
SCALAR = {"shape": [], "initializer": ZEROS}
PAIR = {"x": {"shape": [2]}}


def dimension(make: Callable[[int], Json | str]) -> Callable[[int], Json | str]:
    """Enter a function into the table, under its name in words."""
    DIMENSIONS[make.__name__.replace("_", " ")] = make
    return make


def text_of(content: Json | str) -> str:
    """The text of a file."""
    return content if isinstance(content, str) else json.dumps(content)


def sized(make: Callable[[int], Json | str], kilobytes: float) -> str:
    """The text of a file of about so many kilobytes."""
    least, most = 1, 2
    while len(text_of(make(most))) < kilobytes * 1000:
        least, most = most, 2 * most
    while most - least > max(1, least // 50):
        middle = (least + most) // 2
        least, most = (middle, most) if len(text_of(make(middle))) < kilobytes * 1000 else (least, middle)
    return text_of(make(least))


# ---------------------------------------------------------------- parts of files


def file_of(nodes: Iterable[Json], outputs: Json | None = None, **sections: Any) -> Json:
    """A model of nodes, with one input x of two numbers; without `outputs`, the last node is the only one."""
    nodes = list(nodes)
    return {
        "format": "graphengine.model",
        "format_version": 1,
        "opset_imports": {"core": 1},
        "name": "growing",
        "inputs": PAIR,
        "nodes": nodes,
        "outputs": outputs or {"out": nodes[-1]["id"]},
        **sections,
    }


def node(ident: str, op: str, *inputs: Any, **attributes: Any) -> Json:
    """A node of a file or a function."""
    return {"id": ident, "op": op, "inputs": list(inputs), **({"attributes": attributes} if attributes else {})}


def each(count: int, op: str, *inputs: Any, **attributes: Any) -> list[Json]:
    """So many equal nodes."""
    return [node(f"z{i}", op, *inputs, **attributes) for i in range(count)]


def function(nodes: Iterable[Json], inputs: Any = ("x",), outputs: Json | None = None, **sections: Any) -> Json:
    """A function; `inputs` are names or declarations."""
    nodes = list(nodes)
    declared = inputs if isinstance(inputs, Mapping) else {name: {} for name in inputs}
    return {"inputs": declared, "nodes": nodes, "outputs": outputs or {"out": nodes[-1]["id"]}, **sections}


def numbered(count: int, value: Any, name: str = "k") -> Json:
    """An object of so many keys with one value."""
    return {f"{name}{i}": value for i in range(count)}


def shaped(names: Iterable[str], *shape: Any) -> Json:
    """Inputs of one shape."""
    return {name: {"shape": list(shape)} for name in names}


def trained(**keys: Any) -> Json:
    """Sections of a file that can be trained, with keys of the training replaced."""
    training = {"loss": "loss", "epochs": 1, "optimizer": {"type": "sgd", "learning_rate": 0.1}, **keys}
    return {"parameters": {"p": SCALAR}, "training": training}


LOSS = [node("z", "mul", "p", "x"), node("loss", "sum", "z")]

# ---------------------------------------------------------------- names that are not there


@dimension
def undefined_inputs_of_one_node(n):
    return file_of([node("z", "add_n", *[f"a{i}" for i in range(n)])], inputs=shaped(numbered(n, 0, "v")))


@dimension
def nearly_defined_inputs_of_one_node(n):
    names = [f"abcdefg{i}" for i in range(n)]
    return file_of([node("z", "add_n", *[f"{name}x" for name in names])], inputs=shaped(names))


@dimension
def undefined_inputs_of_many_nodes(n):
    return file_of(node(f"z{i}", "neg", f"a{i}") for i in range(n))


@dimension
def undefined_ports(n):
    return file_of(node(f"z{i}", "neg", f"x:q{i}") for i in range(n))


@dimension
def undefined_ports_of_a_call(n):
    wide = function([node("a", "neg", "x")], outputs=numbered(n, "a", "o"))
    return file_of([node("a", "f", "x"), *(node(f"z{i}", "neg", f"a:q{i}") for i in range(n))], functions={"f": wide})


@dimension
def unknown_ops(n):
    return file_of(node(f"z{i}", f"op{i}", "x") for i in range(n))


@dimension
def unknown_ops_in_one_function(n):
    inner = function(node(f"a{i}", f"op{i}", "x") for i in range(n))
    return file_of([node("z", "f", "x")], functions={"f": inner})


@dimension
def unknown_ops_in_many_functions(n):
    functions = {f"f{i}": function([node("a", f"op{i}", "x")]) for i in range(n)}
    return file_of([node("z", "f0", "x")], functions=functions)


@dimension
def undefined_inputs_in_many_functions(n):
    return file_of([node("z", "f0", "x")], functions=numbered(n, function([node("a", "neg", "y")]), "f"))


@dimension
def undefined_outputs_of_a_function(n):
    wide = function(each(n, "neg", "x"), outputs={f"o{i}": f"b{i}" for i in range(n)})
    return file_of([node("z", "f", "x")], functions={"f": wide})


@dimension
def undefined_attributes_of_a_function(n):
    named = node("a", "sum", "x", axis=[{"attribute": f"q{i}"} for i in range(n)])
    wide = function([named], attributes=numbered(n, {"default": 1}, "i"))
    return file_of([node("z", "f", "x")], functions={"f": wide})


@dimension
def unknown_attributes_of_a_call(n):
    wide = function([node("a", "neg", "x")], attributes=numbered(n, {"default": 1}, "i"))
    return file_of([node("z", "f", "x", **numbered(n, 1))], functions={"f": wide})


@dimension
def missing_attributes_of_a_call(n):
    wide = function([node("a", "neg", "x")], attributes=numbered(n, {}, "i"))
    return file_of([node("z", "f", "x")], functions={"f": wide})


@dimension
def unknown_names_of_inputs(n):
    named = {**{f"xs[{i}]": "x" for i in range(n)}, **{f"ys[{i}]": "x" for i in range(n)}}
    return file_of([{"id": "z", "op": "add_n", "inputs": named}])


@dimension
def undefined_outputs(n):
    return file_of([node("z", "neg", "x")], {f"o{i}": f"q{i}" for i in range(n)})


@dimension
def undefined_metrics(n):
    return file_of(LOSS, **trained(metrics={f"m{i}": f"q{i}" for i in range(n)}))


@dimension
def undefined_updates(n):
    state = {f"s{i}": {**SCALAR, "update": f"q{i}"} for i in range(n)}
    return file_of([node("z", "neg", "x")], state=state)


@dimension
def undefined_targets_of_data(n):
    columns = numbered(n, "c", "q")
    return file_of([node("z", "neg", "x")], data={"d": {"type": "csv", "path": "a.csv", "columns": columns}})


@dimension
def undefined_targets_of_many_sources(n):
    source = {"type": "csv", "path": "a.csv", "columns": {"q": "c"}}
    return file_of([node("z", "neg", "x")], data=numbered(n, source, "d"))


# ---------------------------------------------------------------- what is wrong in form


@dimension
def unknown_keys(n):
    return {**file_of([node("z", "neg", "x")]), **numbered(n, 1, "node")}


@dimension
def unknown_keys_of_an_input(n):
    return file_of([node("z", "neg", "x")], inputs={"x": {"shape": [], **numbered(n, 1, "shap")}})


@dimension
def unknown_keys_of_many_inputs(n):
    return file_of([node("z", "neg", "x")], inputs=numbered(n, {"shpe": []}, "x"))


@dimension
def unknown_keys_of_a_node(n):
    return file_of([{**node("z", "neg", "x"), **numbered(n, 1)}])


@dimension
def unknown_keys_of_many_nodes(n):
    return file_of([{**node(f"z{i}", "neg", "x"), "attrs": {}} for i in range(n)])


@dimension
def unknown_keys_of_the_training(n):
    return file_of(LOSS, **trained(**numbered(n, 1, "epoch")))


@dimension
def unknown_attributes_of_the_optimizer(n):
    optimizer = {"type": "sgd", "learning_rate": 0.1, **numbered(n, 1, "beta")}
    return file_of(LOSS, **trained(optimizer=optimizer))


@dimension
def unknown_attributes_of_one_node(n):
    return file_of([node("z", "sum", "x", **numbered(n, 1, "axs"))])


@dimension
def unknown_attributes_of_many_nodes(n):
    return file_of(node(f"z{i}", "sum", "x", axs=i) for i in range(n))


@dimension
def wrong_elements_of_an_attribute(n):
    return file_of([node("z", "sum", "x", axis=["a"] * n)])


@dimension
def wrong_pairs_of_an_attribute(n):
    return file_of([node("z", "pad", "x", pad_width=[["a", "b"]] * n)])


@dimension
def inputs_of_a_node_that_are_null(n):
    return file_of([node("z", "neg", *[None] * n)])


@dimension
def named_inputs_of_a_node_that_are_null(n):
    return file_of([{"id": "z", "op": "neg", "inputs": numbered(n, None)}])


@dimension
def inputs_of_a_node_that_are_no_names(n):
    return file_of([node("z", "add_n", *["a b"] * n)])


@dimension
def nodes_without_an_op(n):
    return file_of([{"id": f"a{i}", "inputs": ["x"]} for i in range(n)])


@dimension
def nodes_in_a_function_that_are_incomplete(n):
    inner = {"inputs": {"x": {}}, "nodes": [{"id": f"a{i}"} for i in range(n)], "outputs": {"out": "a0"}}
    return file_of([node("z", "f", "x")], functions={"f": inner})


@dimension
def nodes_in_a_function_that_are_numbers(n):
    inner = {"inputs": {"x": {}}, "nodes": [1] * n, "outputs": {"out": "a0"}}
    return file_of([node("z", "f", "x")], functions={"f": inner})


@dimension
def functions_that_are_empty(n):
    return file_of([node("z", "f", "x")], functions=numbered(n, {}, "f"))


@dimension
def names_of_nodes_that_are_none(n):
    return file_of([node(f"z {i}", "neg", "x") for i in range(n)], {"o": "x"})


@dimension
def names_of_inputs_that_are_none(n):
    return file_of([node("z", "neg", "x")], inputs={**PAIR, **{f"x {i}": {"shape": []} for i in range(n)}})


@dimension
def sizes_that_are_none(n):
    return file_of([node("z", "neg", "x")], inputs={f"x{i}": {"shape": ["N*"]} for i in range(n)})


@dimension
def a_shape_of_sizes_that_are_none(n):
    return file_of([node("z", "neg", "x")], inputs={"x": {"shape": ["N*"] * n}})


@dimension
def dtypes_that_are_none(n):
    return file_of([node("z", "neg", "x")], inputs=numbered(n, {"shape": [], "dtype": "float65"}, "x"))


@dimension
def initializers_that_are_none(n):
    parameter = {"shape": [2], "initializer": {"type": "zeroes"}}
    return file_of([node("z", "neg", "p0")], parameters=numbered(n, parameter, "p"))


@dimension
def parameters_that_are_empty(n):
    return file_of([node("z", "neg", "p0")], parameters=numbered(n, {}, "p"))


@dimension
def values_of_parameters_that_do_not_fit(n):
    parameter = {"shape": [2], "initializer": ZEROS, "value": [1, "a"]}
    return file_of([node("z", "neg", "p0")], parameters=numbered(n, parameter, "p"))


@dimension
def values_in_files_that_are_not_there(n):
    values = [{"file": "w.safetensors", "tensor": f"t{i}", "sha256": "0" * 64} for i in range(n)]
    parameters = {f"p{i}": {"shape": [2], "initializer": ZEROS, "value": value} for i, value in enumerate(values)}
    return file_of([node("z", "neg", "p0")], parameters=parameters)


@dimension
def paths_that_leave_the_folder(n):
    return file_of([node("z", "neg", "x")], data=numbered(n, {"type": "csv", "path": "../a.csv"}, "d"))


@dimension
def types_of_data_that_are_none(n):
    data = {f"d{i}": {"type": f"cvs{i}", "path": "a.csv"} for i in range(n)}
    return file_of([node("z", "neg", "x")], data=data)


@dimension
def versions_of_opsets_that_are_none(n):
    return file_of([node("z", "neg", "x")], opset_imports={"core": 1, **numbered(n, "a", "d")})


@dimension
def keys_that_are_there_twice(n):
    return text_of(file_of([node("z", "neg", "x")])).replace("{", "{" + '"name": "a", ' * n, 1)


@dimension
def keys_that_are_there_twice_in_long_places(n):
    names = "".join([f'"{"k" * (n // 4)}": {{' for _ in range(40)])
    return "{" + names + ", ".join(['"a": 1'] * 200) + "}" * 41


@dimension
def bare_words(n):
    return text_of(file_of([node("z", "neg", "x")], metadata={"a": 0})).replace('"a": 0', f'"a": [{"NaN, " * n}0]')


@dimension
def integers_of_many_digits(n):
    return text_of(file_of([node("z", "neg", "x")], metadata={"a": 0})).replace('"a": 0', f'"a": {"9" * n}')


@dimension
def problems_in_long_lines(n):
    content = file_of([node(f"z{i}", "neg", "q") for i in range(120)], metadata={"a": "\u00e4" * n})
    return json.dumps(content, ensure_ascii=False)


@dimension
def problems_after_many_lines(n):
    content = file_of([node(f"z{i}", "neg", "q") for i in range(120)])
    return text_of(content).replace("{", "{" + "\n" * n, 1)


# ---------------------------------------------------------------- what is there twice, and cycles


@dimension
def ids_that_are_there_twice(n):
    return file_of([node("z", "neg", "x")] * n)


@dimension
def ids_that_are_inputs_too(n):
    return file_of([node(f"x{i}", "neg", "x") for i in range(n)], inputs={**PAIR, **shaped(numbered(n, 0, "x"))})


@dimension
def a_long_cycle(n):
    return file_of(node(f"z{i}", "neg", f"z{(i + 1) % n}") for i in range(n))


@dimension
def cycles_of_one_node(n):
    return file_of(node(f"z{i}", "neg", f"z{i}") for i in range(n))


@dimension
def cycles_through_one_node(n):
    return file_of([node("h", "add_n", *[f"z{i}" for i in range(n)]), *each(n, "neg", "h")])


@dimension
def cycles_like_a_ladder(n):
    return file_of(node(f"z{i}", "add", f"z{(i + 1) % n}", f"z{(i + 2) % n}") for i in range(n))


@dimension
def nodes_that_all_read_each_other(n):
    names = [f"z{i}" for i in range(int(n**0.5) + 1)]
    return file_of([node(name, "add_n", *names) for name in names])


@dimension
def cycles_in_a_function(n):
    return file_of([node("z", "f", "x")], functions={"f": function(node(f"a{i}", "neg", f"a{i}") for i in range(n))})


@dimension
def cycles_in_many_functions(n):
    return file_of([node("z", "f0", "x")], functions=numbered(n, function([node("a", "neg", "a")]), "f"))


@dimension
def functions_in_a_cycle(n):
    functions = {f"f{i}": function([node("a", f"f{(i + 1) % n}", "x")]) for i in range(n)}
    return file_of([node("z", "f0", "x")], functions=functions)


# ---------------------------------------------------------------- functions that become more than they are


@dimension
def functions_that_each_call_the_next_twice(n):
    functions = {
        f"f{i}": function([node("a", callee := f"f{i + 1}" if i < n - 1 else "neg", "x"), node("b", callee, "a")])
        for i in range(n)
    }
    return file_of([node("z", "f0", "x")], functions=functions)


@dimension
def functions_that_each_call_the_next(n):
    functions = {f"f{i}": function([node("a", f"f{i + 1}" if i < n - 1 else "neg", "x")]) for i in range(n)}
    return file_of([node("z", "f0", "x")], functions=functions)


@dimension
def functions_that_call_what_is_not_there(n):
    functions = {f"f{i}": function([node("a", f"g{i}", "x")]) for i in range(n)}
    return file_of([node("z", "f0", "x")], functions=functions)


@dimension
def functions_that_nothing_calls(n):
    return file_of([node("z", "neg", "x")], functions=numbered(n, function([node("a", "neg", "x")]), "f"))


@dimension
def calls_of_a_function_with_many_nodes(n):
    return file_of(each(n, "f", "x"), functions={"f": function(each(n, "neg", "x"))})


@dimension
def as_many_nodes_in_calls_as_are_allowed(n):
    return file_of(each(n, "f", "x"), functions={"f": function(each(20, "neg", "x"))})


@dimension
def different_calls_of_a_function_with_many_nodes(n):
    inner = function(each(n, "add", "x", "b"), attributes={"b": {"default": 1}})
    return file_of([node(f"z{i}", "f", "x", b=i) for i in range(n)], functions={"f": inner})


@dimension
def calls_of_a_function_with_many_outputs(n):
    return file_of(each(n, "f", "x"), functions={"f": function([node("a", "neg", "x")], outputs=numbered(n, "a"))})


@dimension
def calls_of_a_function_with_many_inputs(n):
    inputs = {"x": {}, **numbered(n, {"optional": True}, "i")}
    return file_of(each(n, "f", "x"), functions={"f": function([node("a", "neg", "x")], inputs)})


@dimension
def calls_of_a_function_with_many_attributes(n):
    inner = function([node("a", "neg", "x")], attributes=numbered(n, {"default": 1}, "i"))
    return file_of([node(f"z{i}", "f", "x", i0=i) for i in range(n)], functions={"f": inner})


@dimension
def calls_of_a_function_with_a_long_default(n):
    attributes = {"axis": {"default": list(range(n))}, "b": {"default": 1}}
    inner = function([node("a", "sum", "x", axis={"attribute": "axis"})], attributes=attributes)
    return file_of([node(f"z{i}", "f", "x", b=i) for i in range(n)], functions={"f": inner})


@dimension
def calls_within_calls_with_many_outputs(n):
    functions = {}
    for i in range(50):
        outputs = {f"o{j}": f"a:o{j}" if i < 49 and j else "a" for j in range(n // 20 + 1)}
        functions[f"f{i}"] = function([node("a", f"f{i + 1}" if i < 49 else "neg", "x")], outputs=outputs)
    return file_of(each(n // 20 + 1, "f0", "x"), functions=functions)


@dimension
def calls_of_a_function_that_splits(n):
    inner = [node(f"s{i}", "split", "x", indices_or_sections=256) for i in range(n // 20 + 1)]
    called = function([*inner, node("out", "neg", "x")])
    return file_of(each(n, "f", "x"), inputs=shaped("x", 256), functions={"f": called})


@dimension
def nodes_that_split(n):
    return file_of(each(n, "split", "x", indices_or_sections=256), inputs=shaped("x", 256))


@dimension
def misfits_in_a_function(n):
    inner = function(each(n, "add", "x", "y"), ("x", "y"))
    inputs = {"x": {"shape": [2]}, "y": {"shape": [3]}}
    return file_of([node("z", "f", "x", "y")], inputs=inputs, functions={"f": inner})


@dimension
def calls_in_which_nodes_do_not_fit(n):
    inputs = {"x": {"shape": [2]}, "y": {"shape": [3]}}
    return file_of(each(n, "f", "x", "y"), inputs=inputs, functions={"f": function(each(9, "add", "x", "y"), "xy")})


@dimension
def calls_whose_inputs_do_not_fit(n):
    inner = function([node("a", "neg", "x")], {"x": {"shape": [10**6]}})
    inputs = {f"x{i}": {"shape": [i + 1]} for i in range(n)}
    return file_of([node(f"z{i}", "f", f"x{i}") for i in range(n)], inputs=inputs, functions={"f": inner})


@dimension
def optional_inputs_before_others(n):
    inputs = {**numbered(n, {"optional": True}, "i"), **numbered(n, {}, "j")}
    return file_of([node("z", "f", "x")], functions={"f": function([node("a", "neg", "j0")], inputs)})


# ---------------------------------------------------------------- shapes


@dimension
def squares_of_a_size(n):
    nodes, last = [], "x"
    for i in range(n):
        nodes += [node(f"r{i}", "expand_dims", last, axis=0), node(f"c{i}", "expand_dims", last, axis=1)]
        nodes += [node(f"o{i}", "mul", f"r{i}", f"c{i}"), node(f"f{i}", "flatten", f"o{i}")]
        last = f"f{i}"
    return file_of(nodes, inputs=shaped("x", "N"))


def chain(n: int, op: str, twice: bool = False, **attributes: Any) -> list[Json]:
    """Nodes that each read the one before, the first one x."""
    before = ["x", *[f"z{i}" for i in range(n - 1)]]
    return [node(f"z{i}", op, *[name] * (1 + twice), **attributes) for i, name in enumerate(before)]


@dimension
def doublings_of_a_size(n):
    return file_of(chain(n, "concat", twice=True, axis=0), inputs=shaped("x", "N"))


@dimension
def more_and_more_axes(n):
    return file_of(chain(n, "expand_dims", axis=0))


@dimension
def nodes_of_many_axes(n):
    deep = node("x60", "expand_dims", "x", axis=list(range(60)))
    return file_of([deep, *each(n, "neg", "x60")], inputs=shaped("x", "N"))


@dimension
def multiples_of_a_size(n):
    return file_of([node(f"z{i}", "tile", "x", reps=[i + 1]) for i in range(n)], inputs=shaped("x", "N"))


@dimension
def sums_of_sizes(n):
    inputs = {f"x{i}": {"shape": [f"N{i}"]} for i in range(n)}
    return file_of([node("z", "concat", *inputs, axis=0)], inputs=inputs)


@dimension
def operands_that_do_not_broadcast(n):
    inputs = {f"x{i}": {"shape": [f"N{i}"]} for i in range(n)}
    return file_of([node("z", "add_n", *inputs)], inputs=inputs)


@dimension
def one_operand_many_times(n):
    return file_of([node("z", "add_n", *["x"] * n)])


@dimension
def named_operands(n):
    return file_of([{"id": "z", "op": "add_n", "inputs": {f"xs[{i}]": "x" for i in range(n)}}])


@dimension
def nodes_whose_shapes_do_not_fit(n):
    inputs = {"x": {"shape": [2]}, "y": {"shape": [3]}}
    return file_of(each(n, "add", "x", "y"), inputs=inputs)


@dimension
def updates_that_do_not_fit(n):
    return file_of([node("z", "neg", "x")], state=numbered(n, {**SCALAR, "update": "z"}, "s"))


@dimension
def axes_of_a_sum(n):
    return file_of([node("z", "sum", "x", axis=list(range(n)))])


@dimension
def new_axes(n):
    return file_of([node("z", "expand_dims", "x", axis=list(range(n)))])


@dimension
def axes_of_a_transpose(n):
    return file_of([node("z", "transpose", "x", axes=list(range(n)))])


@dimension
def repetitions_of_a_tile(n):
    return file_of([node("z", "tile", "x", reps=[1] * n)])


@dimension
def sizes_of_a_reshape(n):
    return file_of([node("z", "reshape", "x", shape=[1] * n)])


@dimension
def margins_of_a_pad(n):
    return file_of([node("z", "pad", "x", pad_width=[[1, 1]] * n)])


@dimension
def places_of_a_split(n):
    places = list(range(1, n + 1))
    return file_of([node("z", "split", "x", indices_or_sections=places)], inputs=shaped("x", n + 1))


@dimension
def letters_of_an_einsum(n):
    return file_of([node("z", "einsum", "x", equation="i" * n + "->")])


@dimension
def operands_of_an_einsum(n):
    return file_of([node("z", "einsum", *["x"] * n, equation=",".join("i" * n) + "->")])


# ---------------------------------------------------------------- what is accepted


@dimension
def a_chain_of_nodes(n):
    return file_of(chain(n, "neg"))


@dimension
def nodes_that_read_all_before_them(n):
    names = [f"z{i}" for i in range(int(n**0.5) + 1)]
    return file_of(node(name, "add_n", "x", *names[:i]) for i, name in enumerate(names))


@dimension
def random_nodes(n):
    return file_of(each(n, "normal", shape=[1]))


@dimension
def metrics(n):
    return file_of(LOSS, **trained(metrics=numbered(n, "loss", "m")))


@dimension
def opsets(n):
    return file_of([node("z", "neg", "x")], opset_imports={"core": 1, **numbered(n, 1, "d")})


@dimension
def metadata(n):
    return file_of([node("z", "neg", "x")], metadata=numbered(n, 1))


@dimension
def parameters_of_many_shapes(n):
    parameters = {f"p{i}": {"shape": [1] * (i % 30), "initializer": ZEROS} for i in range(n)}
    training = trained(optimizer={"type": "adam", "learning_rate": 0.1})["training"]
    nodes = [node("z", "add_n", *parameters), node("loss", "sum", "z")]
    return file_of(nodes, parameters=parameters, training=training)


@dimension
def nodes_of_an_update_rule(n):
    body = [*each(n, "mul", "gradient", 2.0), node("new", "sub", "parameter", "gradient")]
    rule = function(body, ("parameter", "gradient"), {"parameter": "new"})
    optimizer = {"type": "r", "learning_rate": 0.1}
    return file_of(LOSS, functions={"r": rule}, **trained(optimizer=optimizer))


@dimension
def slots_of_an_update_rule(n):
    body = [*(node(f"a{i}", "mul", f"s{i}", 2.0) for i in range(n)), node("new", "sub", "parameter", "gradient")]
    inputs = {"parameter": {}, "gradient": {}, **numbered(n, {"initializer": ZEROS}, "s")}
    rule = function(body, inputs, {"parameter": "new", **{f"s{i}": f"a{i}" for i in range(n)}})
    optimizer = {"type": "r", "learning_rate": 0.1}
    return file_of(LOSS, functions={"r": rule}, **trained(optimizer=optimizer))


@dimension
def slots_of_an_update_rule_that_are_none(n):
    inputs = {"parameter": {}, "gradient": {}, **numbered(n, {}, "s")}
    outputs = {"parameter": "new", **numbered(n, "new", "t")}
    rule = function([node("new", "sub", "parameter", "gradient")], inputs, outputs)
    optimizer = {"type": "r", "learning_rate": 0.1}
    return file_of(LOSS, functions={"r": rule}, **trained(optimizer=optimizer))


def inline(values: Json, inputs: Json | None = None) -> Json:
    """A file with inline data."""
    data = {"d": {"type": "inline", "values": values}}
    return file_of([node("z", "neg", "x")], inputs=inputs or shaped("x", "N"), data=data)


@dimension
def inline_data_that_is_ragged(n):
    return inline({"x": [*[1.0] * n, [1.0]]})


@dimension
def inline_data_with_a_string_at_the_end(n):
    return inline({"x": [*[1.0] * n, "a"]})


@dimension
def inline_data_of_strings(n):
    return inline({"x": ["a"] * n})


@dimension
def inline_data_of_many_inputs(n):
    inputs = {**shaped("x", "N"), **shaped(numbered(n, 0, "x"), "N")}
    return inline(numbered(n, [1, 2], "x"), inputs)


@dimension
def many_sources_of_inline_data(n):
    source = {"type": "inline", "values": {"x": [1.0]}}
    return file_of([node("z", "neg", "x")], inputs=shaped("x", "N"), data=numbered(n, source, "d"))


@dimension
def many_sources_of_inline_data_that_do_not_fit(n):
    source = {"type": "inline", "values": {"x": [[1.0, "b"]]}}
    return file_of([node("z", "neg", "x")], inputs=shaped("x", "N"), data=numbered(n, source, "d"))
