"""Row-stable predictions: a row has the same bits alone, in any batch, at any place, on one thread or several."""

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from test_cli import cli, cli_json
from test_properties import N, few, graphs
from threadpoolctl import threadpool_info, threadpool_limits

import graphengine as ge
from graphengine.backends import row_blocks
from graphengine.backends.row_blocks import BLOCK, TILES
from graphengine.ops.shapes import type_of

WITHOUT_ROWS = {"lotka_volterra", "sir"}
"""Their rows are the steps of a solution, each of which follows from the one before."""
PRODUCTS = {
    "rows": (lambda x, w: x @ w, [(5, 7)]),
    "vector": (lambda x, v: x @ v, [(5,)]),
    "columns": (lambda x, w: (w.T @ x.T).T, [(5, 7)]),
    "vector_left": (lambda x, v: v @ x.T, [(5,)]),
    "stack": (lambda x, w: np.sum(np.matmul(np.stack([x, x + 1.0]), w), axis=0), [(2, 5, 7)]),
    "stack_of_columns": (lambda x, w: np.sum(np.matmul(w, np.stack([x.T, x.T + 1.0])), axis=0).T, [(2, 7, 5)]),
    "einsum": (lambda x, w: ge.ops.einsum(x, w, equation="ni,ij->nj"), [(5, 7)]),
    "einsum_turned": (lambda x, w: ge.ops.einsum(w, x, equation="ji,ni->jn").T, [(7, 5)]),
    "einsum_of_three": (lambda x, w, u: ge.ops.einsum(x, w, u, equation="ni,ij,jk->nk"), [(5, 7), (7, 3)]),
}
"""Products of rows of 5 numbers with parameters of these shapes."""


def trained(name):
    """A shipped model with values for its parameters, and rows of its data in random order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ge.errors.ModelWarning)
        model = ge.load(name)
        source = "train" if "train" in model.document.data else None
        data = model.load_data(source) if model.document.data else {}
        if model.document.training:
            model.train(data, max_iterations=3)
    return model, data


def rows_in(model, data):
    """The inputs that have a row for each sample."""
    shapes = {name: model.graph.inputs[name].type.shape for name in data}
    return [name for name, shape in shapes.items() if shape and isinstance(shape[0], str)]


def chosen(data, rows, places):
    return {name: np.asarray(value[:])[places] if name in rows else value for name, value in data.items()}


def equal_bits(left, right):
    return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()


@pytest.mark.filterwarnings("ignore::graphengine.errors.ModelWarning")
@pytest.mark.parametrize("name", sorted(set(ge.models()) - WITHOUT_ROWS))
def test_a_row_of_a_shipped_model_has_the_same_bits_in_any_batch(name):
    model, data = trained(name)
    rows = rows_in(model, data)
    if not rows:  # it takes one sample at a time
        sample = {name: value[0] for name, value in data.items()}
        plain = model.predict(sample)
        assert all(equal_bits(value, plain[name]) for name, value in model.predict(sample, row_stable=True).items())
        return
    count = len(data[rows[0]])
    places = np.random.default_rng(3).integers(0, count, BLOCK + 20)
    batch = chosen(data, rows, places)
    whole = model.predict(batch, row_stable=True)
    assert whole
    assert all(len(value) == len(places) for value in whole.values())
    for size in (1, 2, 7):
        for start in (0, 1, 37, BLOCK - 1, BLOCK, len(places) - size):
            part = model.predict(chosen(batch, rows, slice(start, start + size)), row_stable=True)
            assert all(equal_bits(part[name], whole[name][start : start + size]) for name in whole)
    plain = model.predict(batch)
    for name in whole:
        np.testing.assert_allclose(whole[name], plain[name], rtol=1e-5, atol=1e-5)
        assert whole[name].dtype == plain[name].dtype


@pytest.mark.parametrize("name", sorted(WITHOUT_ROWS))
def test_rows_that_follow_from_each_other_are_refused(name):
    model = ge.load(name)
    with pytest.raises(ge.errors.UsageError, match="GE417"):
        model.predict(model.load_data(), row_stable=True)


def product_model(case, dtype):
    """A model of one product, built in Python, and the product in NumPy."""
    product, shapes = PRODUCTS[case]
    builder = ge.Builder("product", dtype=dtype)
    random = np.random.default_rng(1)
    values = [random.standard_normal(shape).astype(dtype) for shape in shapes]
    factors = [builder.parameter(f"w{n}", list(each.shape), value=each) for n, each in enumerate(values)]
    builder.output(z=product(builder.input("x", ["N", 5]), *factors))
    return builder.model(), lambda x: product(x, *values)


@pytest.mark.filterwarnings("ignore::graphengine.errors.ModelWarning")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("tile", [BLOCK, 8, 1])
@pytest.mark.parametrize("case", PRODUCTS)
def test_products_in_tiles_are_those_of_numpy(case, tile, dtype, monkeypatch):
    monkeypatch.setattr(row_blocks, "_is_even", lambda rows, *_: rows <= tile)
    model, product = product_model(case, dtype)
    x = np.random.default_rng(2).standard_normal((BLOCK + 5, 5)).astype(dtype)
    found = model.predict(x=x, row_stable=True)["z"]
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    np.testing.assert_allclose(found, product(x.astype(np.float64)), rtol=tolerance, atol=tolerance)


@pytest.mark.filterwarnings("ignore::graphengine.errors.ModelWarning")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", PRODUCTS)
def test_rows_of_products_have_the_same_bits_at_each_place(case, dtype):
    model, _ = product_model(case, dtype)
    rows = np.random.default_rng(2).standard_normal((9, 5)).astype(dtype)
    places = np.random.default_rng(4).integers(0, 9, 2 * BLOCK + 11)
    found = model.predict(x=rows[places], row_stable=True)["z"]
    alone = np.concatenate([model.predict(x=row[None], row_stable=True)["z"] for row in rows])
    assert equal_bits(found, alone[places])


def test_the_tile_is_the_largest_whose_rows_are_alike(monkeypatch):
    def uneven(x, y):
        """A product whose rows behind the eighth of a matrix are computed otherwise."""
        product = np.matmul(x, y)
        product[:, 8:] *= 1 + 2**-50
        return product

    monkeypatch.setattr(row_blocks, "matrix_product", uneven)
    row_blocks._is_even.cache_clear()
    kinds = type_of(np.ones((BLOCK, 6))), type_of(np.ones((6, 3)))
    try:
        assert row_blocks.tile_of(BLOCK, *kinds) == 8
        assert row_blocks.tile_of(BLOCK, *[kind._replace(dtype=np.dtype(np.int64)) for kind in kinds]) == BLOCK
    finally:
        row_blocks._is_even.cache_clear()
    assert all(BLOCK % tile == 0 for tile in TILES)


NARROW = {"line": (5, None), "columns": (5, 3), "two_layers": (20, 4)}
"""Products of few numbers, by the length of a row and the number of columns."""


def narrow_model(case, dtype):
    """Products of rows with small factors, and functions of single numbers."""
    length, width = NARROW[case]
    builder, random = ge.Builder(case, dtype=dtype), np.random.default_rng(1)
    shape = [length] if width is None else [length, width]
    z = builder.input("x", ["N", length]) @ builder.parameter("w", shape, value=random.standard_normal(shape))
    if case == "two_layers":
        z = np.tanh(z) @ builder.parameter("v", [width], value=random.standard_normal(width))
    builder.output(z=np.exp(-z))
    return builder.model()


@pytest.mark.filterwarnings("ignore::graphengine.errors.ModelWarning")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", NARROW)
def test_many_rows_at_once_have_the_bits_of_blocks_and_of_rows_alone(case, dtype):
    model = narrow_model(case, dtype)
    for count in (2 * BLOCK + 8, 2003, 10_000):
        x = np.random.default_rng(count).standard_normal((count, NARROW[case][0])).astype(dtype)
        by_blocks, *at_once = [model.predict(x=x, row_stable=True)["z"] for _ in range(3)]
        assert all(equal_bits(each, by_blocks) for each in at_once)
        places = [*range(5), *range(count - 20, count)]
        alone = np.concatenate([model.predict(x=x[n : n + 1], row_stable=True)["z"] for n in places])
        assert equal_bits(alone, by_blocks[places])


@pytest.mark.filterwarnings("ignore::graphengine.errors.ModelWarning")
def test_rows_that_have_other_bits_at_once_are_left_to_blocks(monkeypatch):
    model, x = narrow_model("columns", "float64"), np.ones((1000, 5))
    programs = []
    monkeypatch.setattr(row_blocks, "has_bits_of_tiles", lambda rows, *_: programs.append(rows))
    for _ in range(2):
        model.predict(x=x, row_stable=True)
    assert programs == [1000]
    product = row_blocks.matrix_product
    kinds = type_of(np.ones((BLOCK, 6))), type_of(np.ones((6, 3)))
    monkeypatch.undo()

    def uneven(x, y):
        """A product whose last rows are computed otherwise where there are many."""
        found = product(x, y)
        found[BLOCK + 3 :] *= 1 + 2**-50
        return found

    row_blocks._is_as_in_tiles.cache_clear()
    try:
        monkeypatch.setattr(row_blocks, "matrix_product", uneven)
        assert not row_blocks.has_bits_of_tiles(BLOCK + 8, *kinds)
    finally:
        row_blocks._is_as_in_tiles.cache_clear()


def wide_model():
    """A product that is large enough for BLAS to cut it among threads."""
    builder = ge.Builder("wide")
    x = builder.input("x", ["N", 300])
    w = builder.parameter("w", [300, 130], value=np.random.default_rng(1).standard_normal((300, 130)))
    builder.output(z=x @ w)
    return builder.model()


@pytest.mark.filterwarnings("ignore::graphengine.errors.ModelWarning")
def test_the_bits_do_not_depend_on_the_number_of_threads():
    model, x = wide_model(), np.random.default_rng(2).standard_normal((1000, 300))
    before = [(each["filepath"], each["num_threads"]) for each in threadpool_info() if each["user_api"] == "blas"]
    found = []
    for threads in (1, 2, 4):
        with threadpool_limits(threads, user_api="blas"):
            found.append(model.predict(x=x, row_stable=True)["z"])
    with ThreadPoolExecutor(4) as pool:
        found += pool.map(lambda _: model.predict(x=x, row_stable=True)["z"], range(8))
    found.append(np.concatenate([model.predict(x=x[n : n + 3], row_stable=True)["z"] for n in range(0, 1000, 3)]))
    assert all(equal_bits(each, found[0]) for each in found)
    after = [(each["filepath"], each["num_threads"]) for each in threadpool_info() if each["user_api"] == "blas"]
    assert after == before


def mixed_model():
    """Outputs of single rows, of all rows together, and of no row."""
    builder = ge.Builder("mixed")
    x = builder.input("x", ["N", 2])
    w = builder.parameter("w", [2], value=np.array([0.5, -2.0]))
    y = builder.name("y", x @ w)
    builder.output(y=y, middle=np.mean(y), centered=y - np.mean(y), twice=2.0 * w)
    return builder.model()


@pytest.mark.filterwarnings("ignore::graphengine.errors.ModelWarning")
def test_outputs_of_several_rows_are_left_out_or_refused():
    model, x = mixed_model(), np.array([[1.0, 2.0], [3.0, 4.0]])
    found = model.predict(x=x, row_stable=True)
    assert list(found) == ["y", "twice"]
    np.testing.assert_array_equal(found["y"], [-3.5, -6.5])
    np.testing.assert_array_equal(found["twice"], [1.0, -4.0])
    assert list(model.predict(x=np.ones((0, 2)), outputs="y", row_stable=True)["y"]) == []
    with pytest.raises(ge.errors.UsageError, match=r"GE417: .*'middle' and 'centered'"):
        model.predict(x=x, outputs=["y", "middle", "centered"], row_stable=True)


@pytest.mark.filterwarnings("ignore::graphengine.errors.ModelWarning")
def test_a_size_that_is_a_multiple_of_the_block_is_not_taken_for_rows():
    builder = ge.Builder("tall")
    x = builder.input("x", ["N", BLOCK])
    w = builder.parameter("w", [2 * BLOCK, BLOCK], value=np.random.default_rng(1).standard_normal((2 * BLOCK, BLOCK)))
    builder.output(z=np.transpose(w @ np.transpose(x)))
    model, rows = builder.model(), np.random.default_rng(2).standard_normal((5, BLOCK))
    found = model.predict(x=rows, row_stable=True)["z"]
    alone = np.concatenate([model.predict(x=row[None], row_stable=True)["z"] for row in rows])
    assert equal_bits(found, alone)
    np.testing.assert_allclose(found, rows @ model.parameters["w"].T, rtol=1e-12, atol=1e-10)


@pytest.mark.filterwarnings("ignore::graphengine.errors.ModelWarning")
def test_nonfinite_rows_and_failures_are_reported_as_always():
    model = mixed_model()
    with pytest.raises(ge.errors.ExecutionError, match="GE413"):
        model.predict(x=[[1.0, np.inf]], outputs="y", row_stable=True, check_finite=True)
    with pytest.raises(ge.errors.InputError, match="GE403"):
        model.predict(x=[1.0, 2.0], outputs="y", row_stable=True)


@pytest.mark.extra("numba")
def test_a_backend_whose_loops_may_treat_rows_unlike_is_refused():
    model = ge.load("linreg", backend="numba")
    with pytest.raises(ge.errors.UsageError, match="numpy backend"):
        model.predict(x=[1.0], row_stable=True)


@pytest.mark.filterwarnings("ignore::graphengine.errors.ModelWarning")
def test_data_larger_than_memory_has_the_same_rows(tmp_path):
    x = np.random.default_rng(2).standard_normal((5000, 2))
    path = tmp_path / "x.csv"
    path.write_text("a,b\n" + "".join(f"{a!r},{b!r}\n" for a, b in x.tolist()))
    file = tmp_path / "mixed.json"
    mixed_model().save(file)
    command = ["predict", file, "--data", path, "--columns", "x=a,b", "--row-stable"]
    found = cli_json(*command)["outputs"]
    parts = cli_json("--limit", "data_bytes=20000", "--limit", "array_bytes=40000", *command)["outputs"]
    assert found == parts
    assert found == {name: value.tolist() for name, value in mixed_model().predict(x=x, row_stable=True).items()}
    assert "GE417" in cli(*command, "--output", "centered", code=2).stderr


@pytest.mark.filterwarnings("ignore::graphengine.errors.ModelWarning")
@few
@given(graphs())
def test_rows_of_random_graphs_have_the_same_bits_alone(drawn):
    content, values = drawn
    model = ge.Model.from_dict(content)
    symbolic = {name for name, declared in model.graph.inputs.items() if "N" in declared.type.shape[:1]}
    try:
        whole = model.predict(values, outputs="last", row_stable=True)["last"]
    except ge.errors.UsageError as error:
        if error.problems[0].code == "GE417":  # it has no rows of its own
            return
        raise
    np.testing.assert_allclose(whole, model.predict(values, outputs="last")["last"], rtol=1e-12, atol=1e-12)
    if symbolic & set(model.executor.inputs_of([model.graph.outputs["last"]])):
        for row in range(N):
            alone = {name: value[row : row + 1] if name in symbolic else value for name, value in values.items()}
            found = model.predict(alone, outputs="last", row_stable=True)["last"]
            assert equal_bits(found, whole[row : row + 1])
