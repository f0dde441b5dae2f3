"""Writes what follows from the code: `python docs/generate.py` makes docs/ops.md, the index of ops and the pictures.

A picture is what a command of the tutorial with `-o NAME.svg` draws, from the files that the tutorial contains."""

import contextlib
import json
import re
import shlex
import shutil
import sys
import tempfile
import textwrap
from pathlib import Path

from typer.testing import CliRunner

import graphengine.ops.families
from graphengine.backends.protocol import instructions
from graphengine.cli.app import app
from graphengine.errors import CODES
from graphengine.explanations import EXPLANATIONS
from graphengine.format.functions import shipped_functions
from graphengine.ir.binding import bind_sizes
from graphengine.model.model import load
from graphengine.ops.registry import OPS
from graphengine.ops.shapes import shape_text
from graphengine.transform.passes import optimize

TUTORIAL = Path(__file__).with_name("tutorial.md")
PICTURES = Path(__file__).with_name("pictures")

INTRODUCTION = """\
# Ops

<!-- made by docs/generate.py from the node classes; do not edit -->

The ops that a node of a model file can name. `graphengine ops` prints the same list, `graphengine ops NAME` describes
one op.

**How to read the tables.** Inputs have their names; z is the result, xi element number i of x, n the number of
elements. `dz/dx` is a partial derivative: `backward` multiplies it by dz, the gradient with respect to z. If each
result depends on many elements, the table has the product itself, `dx`, the gradient with respect to x. `x.T` is x with
its last two axes swapped. Definitions after `with` belong to the formula before it. An input in brackets is optional,
`*` marks any number of inputs, and an attribute without a default is required. Formulas name one axis even if an op
works on several, and ignore broadcasting: the engine sums the gradient of an input that was broadcast back to its
shape. Dtypes follow NumPy; `graphengine ops NAME` lists the dtypes of inputs and results.

**Infinity and NaN.** An infinite input gives the limit of the result and of the derivative, or NaN if there is no
limit. Results and derivatives that depend on a NaN are NaN: `relu` passes NaN on, and `maximum` passes it to both
inputs. A constant derivative, such as 1 for `add` and 0 for `floor`, stays constant. Sums and products follow IEEE 754,
so infinity - infinity and 0 * infinity are NaN, within an op and between ops, unless its description says otherwise. A
matrix with a value that is not finite has no inverse, derivative of the determinant or factor: the result is NaN.
"""


FUNCTIONS = """\
## Functions

Graphs that a node calls like an op, if the file imports their domain: `nn` (layers), `nll` (negative log-likelihoods),
`ode` (steps of differential equations) or `shape` (line shapes); [how calls work](format.md#functions). They are the
function files in the folders of these names."""


def _code(text, *_):
    return f"`{text}`" if text else ""


def ops_page(formula=_code, notation=""):
    """The page as text: a table for each family of ops, then what the classes say beyond a formula.

    `formula` writes a formula, given its text and the names of the inputs, and `notation` explains how.
    """
    families = {}
    for op in sorted(OPS.values(), key=lambda op: op.name):
        if op.cls.__module__.startswith(graphengine.ops.families.__name__):
            families.setdefault(op.cls.__module__, []).append(op)
    tables = (_family(module, ops, formula) for module, ops in sorted(families.items()))
    return "\n".join([INTRODUCTION + notation, *tables, _functions()])


def _functions():
    """The functions of the package: a table, then what they compute."""
    shipped = shipped_functions().values()
    rows = ["| function | inputs | outputs |", "|---|---|---|"]
    for each in shipped:
        shapes = [declared.shape for declared in each.document.inputs.values()]
        named = zip(each.signature.parameters(), shapes, strict=True)
        inputs = ", ".join(f"{name} {shape_text(shape)}" if shape else name for name, shape in named)
        rows.append(f"| `{each.name}` | {inputs} | {', '.join(each.signature.outputs)} |")
    remarks = [f"- `{each.name}`: {each.document.description}" for each in shipped]
    return "\n\n".join([FUNCTIONS, "\n".join(rows), "\n".join(remarks)]) + "\n"


def _family(module, ops, formula):
    title = module.rpartition(".")[2].replace("_", " ").capitalize()
    rows = [
        "| op | inputs | formula | derivatives | attributes |",
        "|---|---|---|---|---|",
        *[_row(op, formula) for op in ops],
    ]
    remarks = [f"- `{op.name}`: {text}" for op in ops if (text := _remarks(op))]
    parts = [f"## {title}", _joined([sys.modules[module].__doc__]), "\n".join(rows), "\n".join(remarks)]
    return "\n\n".join(filter(None, parts)) + "\n"


def _remarks(op):
    """What the docstring says beside the formulas."""
    words, *_, remarks = op.docstring
    return f"{words.rstrip('.')}. {remarks}".strip()


def _row(op, formula):
    fields = op.cls.model_json_schema().get("properties", {})
    attributes = "<br>".join(_attribute(name, field) for name, field in fields.items())
    value, slopes = [formula(text, op.signature.inputs) for text in (op.docstring.formula, op.docstring.derivatives)]
    derivatives = "none" if op.signature.saved is None else slopes
    cells = [_code(op.name), ", ".join(_inputs(op)), value, derivatives, attributes]
    return "| " + " | ".join([cell.replace("|", "\\|") for cell in cells]) + " |"


def _inputs(op):
    """The names of the inputs, optional ones in brackets."""
    *_, last = names = op.signature.inputs or ("",)
    for index, name in enumerate(names):
        if op.signature.variadic and name == last:
            yield f"*{name}"
        else:
            yield f"[{name}]" if index >= op.signature.required and name else name


def _attribute(name, field):
    """An attribute as its JSON Schema says it."""
    default = f" = {json.dumps(field['default'])}" if "default" in field else ""
    return f"`{name}{default}` ({_kind(field)})"


def _kind(field):
    """The type of an attribute in the words of JSON."""
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(map(_kind, field["anyOf"])))
    if "enum" in field or "const" in field:
        return ", ".join(_code(json.dumps(value)) for value in field.get("enum", [field.get("const")]))
    if "prefixItems" in field:
        return f"array of {' and '.join(map(_kind, field['prefixItems']))}"
    if field.get("type") == "array":
        return f"array of {_kind(field['items'])}s"
    return field.get("type", "any")


def _joined(paragraphs):
    """Paragraphs of a docstring on one line."""
    return " ".join(" ".join(paragraphs).split())


def pictures():
    """The pictures of the tutorial, by file name."""
    text = TUTORIAL.read_text(encoding="utf-8")
    files = re.findall(r"^```\w+ (\S+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    commands = re.findall(r"^\$ graphengine (.* -o \S+\.svg)$", text, re.MULTILINE)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        shutil.copytree(TUTORIAL.parents[1] / "models", "models")
        for name, content in files:
            Path(name).write_text(content, encoding="utf-8")
        for command in commands:
            CliRunner().invoke(app, shlex.split(command), catch_exceptions=False)
        return {path.name: path.read_text(encoding="utf-8") for path in sorted(Path().glob("*.svg"))}


ERRORS = """\
# Errors

<!-- made by docs/generate.py from graphengine/explanations.py; do not edit -->

Every error has a code whose meaning never changes. `graphengine explain GE210` prints the same text. A message says
where the error is (file, line, column, JSON Pointer), what was found, and what is possible:

    model.json:9:45: GE210: node 'loss': input 'sqq' is not defined (/nodes/1/inputs/0); did you mean 'sq'?

In Python every error is a `graphengine.errors.GraphEngineError`; its `problems` hold code, message, hint, pointer,
node, file, line and column of each finding. On the command line `--format json` prints the same as `errors`. Line and
column are those of the wrong key, such as an unknown one, or of the wrong value.

The codes from GE901 on, GE605 and GE606 are warnings: in Python a warning is a `graphengine.errors.ModelWarning`, in
JSON it is listed under `warnings`, and with `--strict` it is an error. A message or hint of more than 1000 letters is
cut in the middle. A pointer of more than 1000 letters is replaced by that of the innermost part of the file with a
shorter pointer. The examples show the part of a model file that is wrong.
"""


def errors_page():
    """The page of errors: a section for each code."""
    return "\n".join([ERRORS, *(_error(code, each) for code, each in EXPLANATIONS.items())])


def _error(code, each):
    lines = [f"## {code}: {CODES[code]}", each.cause, f"*What to do:* {each.remedy}", f"    {_visible(each.example)}"]
    return "\n\n".join(lines) + "\n"


def _visible(text):
    """An example with what cannot be seen as escapes."""
    return "".join([char if char.isprintable() else char.encode("unicode_escape").decode() for char in text])


BACKENDS = """\
# Backends

<!-- made by docs/generate.py; do not edit -->

A backend runs graphs with known shapes. Choose one with `ge.load(path, backend="reference")` or `--backend reference`:

| backend | what it does |
|---|---|
| `numpy` | the default: compiles a graph to a plan of NumPy calls ([what happens](performance.md)) |
| `jax` | compiles graphs and whole chunks of a training with XLA, for CPU, GPU and TPU ([more](#jax)) |
| `numba` | compiles elementwise ops and the sums after them to loops, and whole steps on numbers ([more](#numba)) |
| `auto` | `numba` for trainings that gain more from it than it takes to start, otherwise `numpy` |
| `reference` | interprets a graph node by node: slow, readable, and the standard that the others are tested against |

`numpy` and `reference` give the same bits, except that training with the numpy backend may reorder sums within a
[bound](design.md#decisions). `numba` and `jax` add in another order.

## numba

`pip install 'graphengine[jit]'`, then `--backend numba` or `ge.load(path, backend="numba")`.

- **Loops over rows**: elementwise ops on arrays of one shape and the reductions that read them become one compiled
  loop, which reads and writes memory once. If a row is reduced, as in `layer_norm`, `batch_norm` and `softmax`, the
  loop makes several passes over it while it is in the cache. Between two passes it calls NumPy's own function for `exp`
  and its relatives, on rows of 32 numbers or more, so softmax is one loop. Elsewhere these functions, products of
  matrices, and ops on fewer than 2,048 numbers remain NumPy calls around the loops.
- **Whole iterations**: if parameters and outputs of a training step are single numbers (`models/linreg.json` with any
  batch size), a run of iterations is one compiled function: it reads the data, updates parameters and slots, adds up
  the loss and keeps the rows of the history. With one sample a step this is about 20 times as fast as the numpy
  backend.
- **Loops of a model** (`scan`) over values of at most 32 numbers, such as the steps of a differential equation, are
  compiled to machine code after they have run for some seconds, if all their ops have the bits of the numpy backend. In
  other loops, such as those of an LSTM, the steps have loops over rows.
- **A prediction for one row** is one function if it consists of products with matrices of at most 262,144 numbers and
  of ops that loops support. A classifier of relu layers thus answers in 0.9 to 1.5 times the time of onnxruntime. A
  product adds four rows of its matrix at a time, `(x0 * w0 + x1 * w1) + (x2 * w2 + x3 * w3)`, in the precision of the
  arrays.
- **Large graphs of numbers**: more than 400 instructions on single numbers become codes for an interpreter, which is
  compiled once for each installation; nothing is compiled for a graph. It supports ops whose bits are those of the
  numpy backend.
- **Supported ops**: those of `graphengine/backends/numba/expressions.py` on double-precision numbers, in at most 400
  instructions, and those of `graphengine/backends/numba/array_ops.py` on arrays of single or double precision. Anything
  else runs in the numpy backend around them. `graphengine show --plan --backend numba MODEL --size N=1000` prints the
  loops as Python, and what prevents a loop over whole iterations.
- **Bits**: strict IEEE 754, without fast-math and without fused multiply-add. Arithmetic, `sqrt`, comparisons and
  choices have the bits of the numpy backend; so do other functions on arrays, which are NumPy's own. On single numbers
  `exp`, `log`, `sin`, `cos`, `tanh`, `pow` and `hypot` call the C library, whereas NumPy has its own versions for some
  processors. With AVX-512, `exp` differs for 5 % of all numbers by one unit in the last place, `log` for less than 0.1
  %; `tanh` differs on most machines. The backend compares two thousand numbers before it uses such a function, and
  `show --plan` prints whether the loop has the bits of the numpy backend. For 0.0 and -0.0, `maximum` and `minimum` may
  choose the other one. The sign of a NaN is not promised.
- **Sums** are added in double precision, also those of single-precision numbers. The order depends only on the shapes,
  not on the processor:
  - the sum of a row adds number k in lane k mod 32, then lane k and lane k + 16, then k + 8, and so on;
  - sums of columns add row after row; if threads may share the loop, those of each part, then part after part;
  - the sum of all numbers adds them as the columns of rows of 128 numbers, or of the last axis, and then as one row.

  Products in a sum are computed in double precision; the norm of double-precision numbers is NumPy's.
- **Trainings** may amplify differences in the last bits. The first steps of `rmsprop` are ten times the learning rate,
  however small a gradient is, so if the gradient nearly vanishes, its last bits decide the direction of the step. In
  single precision a model that adds 40 parameters differs after 27 iterations by 7e-5 to 2e-3 from its training in
  double precision with either backend, and by up to 5e-4 between the backends; after the first iteration they differ by
  one unit in the last place.
- **Threads**: a loop over rows that computes a million numbers or more is shared by as many threads as there are
  processors, or as `NUMBA_NUM_THREADS` says, up to 8; by one while BLAS is limited to one, as in trainings with several
  workers. A free thread takes another part of the rows, at most 64 of about 8,192 numbers or more, which depend on the
  shape alone. No bit depends on the number of threads. After it has helped, a thread looks for the next loop for about
  100 us, and lets threads that wait for its processor run; then it sleeps. All other loops run in one thread: another
  one gains nothing where memory is the limit.
- **When it compiles**: numba takes 0.3 s of processor time to start from the cache, 0.6 s without it, and 1.4 s for the
  eight loops of `models/autoencoder_digits.json`. So the first iterations run in the numpy backend, for about 0.2 s;
  the switch changes no bit. A loop that has other bits is compiled at once, so that nothing depends on time.
- **`--backend auto`** estimates before a training how much time loops save, from the numbers of iterations, nodes and
  values. It chooses numba if that is more than 4 s, twice the time to start and compile. Predictions run with numpy.
  The checkpoint names the chosen backend. No shipped model is large enough for numba.
- **Checkpoints** name numba and its version. Resuming with another backend is reported, as with another matrix library
  (GE606).
- **Machine code** is cached in the user's cache folder (`~/.cache/graphengine/numba`, or under `XDG_CACHE_HOME`;
  `~/Library/Caches` on macOS, `%LOCALAPPDATA%` on Windows), by source text and versions. Processes may share it; if the
  folder cannot be written, each process compiles for itself.

## jax

`pip install 'graphengine[jax]'`, then `--backend jax` or `ge.load(path, backend="jax")`. `--device gpu`, or
`backend="jax:gpu"`, chooses a device: `cpu`, `gpu`, `tpu`, or one by number, `gpu:1`; by default jax chooses. A
prediction, a gradient and a training step are each one function that XLA compiles. A chunk of a training is one loop
(`lax.fori_loop`) on the device: it takes all batches of the chunk at once and returns losses and rows of the history.

- **Numbers**: double precision stays double, and products of matrices have full precision. XLA adds in another order
  and has its own functions, so the last bits differ. In double precision all ops, all shipped models and the trainings
  of those with an update rule agree with the numpy backend to a relative 1e-12. A solver on an ill-conditioned problem
  amplifies the difference (1e-10 for `lanczos3`). Double precision is only enabled while this backend computes: the
  `jax_enable_x64` of a program that uses jax itself does not change.
- **Data on the device**: parameters, slots and state stay there from one chunk to the next, and so does the data of a
  training up to 256 MiB. Of larger data, the batches of each chunk are sent as one array. After each chunk the
  parameters are copied back for history, checks and checkpoints. The norm of the gradient is computed only for rows of
  the history.
- **Not supported**: decompositions of matrices, random numbers, gamma functions and their relatives, `interp`,
  `linear_recurrence`, powers of integers, and shapes that are known only when a graph runs. Those nodes run in NumPy
  between compiled parts, and a training then returns to Python in each iteration. `graphengine show --plan
  --backend jax MODEL` lists them.
- **Custom nodes** that can be recorded are compiled like the ops they consist of. If only Python can run a node that a
  training needs, the training is refused (GE416).
- **An index out of range** gives NaN, not an error.
- **When it compiles**: at the first use of each shape, and for each of three lengths of a chunk, up to 16, 256 and
  4,096 iterations. That takes from 0.1 s for a line to seconds for large graphs, and pays off for long trainings.
- **Loops**: `scan` and `cond` of a model become XLA's loops and conditionals.
- **Checkpoints** name jax, its version and the device. Resuming with another backend is reported (GE606).

## Writing a backend

A backend is one class. Its method `compile(graph, exact, carried)` returns a program with `run(values)`, `loop(...)`
and `listing(...)`, its code for `show --plan`, if there is any. `graphengine/backends/protocol.py` is the contract.
`graphengine.backends.protocol.instructions(graph)` returns the graph as data: op, attributes, operands and types of one
instruction after the other. A backend is one table from ops to its own code. It does not need to know the file, the
optimizer, or which gradient a graph comes from. `tests/jax_backend.py` is a complete one in less than 150 lines.

## Kernel ops

After optimization the training steps of all shipped models, and the functions that their loops run, consist of the ops
below, so a backend that has them runs these models. The last column is the number of steps that use an op.

| op | formula | steps |
|---|---|---|
"""


def backends_page():
    """The page of backends, with the kernel ops of the shipped models."""
    steps = [kernel_ops(graph) for graph in optimized_steps()]
    counts = {op: sum(op in ops for ops in steps) for op in sorted(set.union(*steps))}
    formulas = {op: _code(OPS[op].docstring.formula).replace("|", "\\|") for op in counts}
    rows = [f"| `{op}` | {formulas[op]} | {count} |" for op, count in counts.items()]
    return BACKENDS + "\n".join(rows) + "\n"


def kernel_ops(graph):
    """The ops of a graph, and those of the functions that its loops run."""
    found = {node.op for node in graph.nodes}
    for each in instructions(graph):
        if each.op == "scan":
            types, _ = each.node.steps(each.operand_types)
            found |= kernel_ops(optimize(each.node.function.graph(types)))
    return found


def optimized_steps():
    """The optimized training steps of all shipped models that an update rule trains."""
    for path in sorted(Path(__file__).parents[1].joinpath("models").glob("*.json")):
        model = load(path)
        training = model.document.training
        if training is not None and not training.optimizer.is_solver:
            trainer = model.trainer()
            sizes = bind_sizes(trainer.batches.shapes, model.graph.types)
            yield optimize(trainer.stepper.step.graph.with_sizes(sizes), exact=False)


INDEX = '''\
"""Which family has an op, so that the registry imports no other one; made by docs/generate.py.

A line is the name of a module of `families` with keys of `FAMILIES`: ops, and NumPy functions that do the same as one.
"""

LINES = """
{lines}
"""

FAMILIES = {{
    key: f"graphengine.ops.families.{{family}}"
    for family, *keys in map(str.split, LINES.strip().splitlines())
    for key in keys
}}
"""The module that registers each op, by its name and by `numpy.` and the name of its NumPy function."""
'''


def index_module():
    """The module `ops/index.py` as text."""
    keys = {}
    for op in OPS.values():
        package, _, family = op.cls.__module__.rpartition(".")
        if package == graphengine.ops.families.__name__:
            function = [f"numpy.{op.numpy.__name__}"] if op.numpy else []
            keys.setdefault(family, []).extend([op.name, *function])
    lines = (textwrap.fill(f"{family}: {' '.join(sorted(keys[family]))}", 100) for family in sorted(keys))
    wrapped = [f"{text.partition(':')[0]} {line}" for text in lines for line in text.partition(": ")[2].splitlines()]
    return INDEX.format(lines="\n".join(wrapped))


if __name__ == "__main__":
    Path(graphengine.ops.families.__file__).parents[1].joinpath("index.py").write_text(index_module(), encoding="utf-8")
    Path(__file__).with_name("backends.md").write_text(backends_page(), encoding="utf-8")
    Path(__file__).with_name("errors.md").write_text(errors_page(), encoding="utf-8")
    Path(__file__).with_name("ops.md").write_text(ops_page(), encoding="utf-8")
    PICTURES.mkdir(exist_ok=True)
    for name, picture in pictures().items():
        (PICTURES / name).write_text(picture, encoding="utf-8")
