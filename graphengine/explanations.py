"""What each error code means: the cause, an example, what to do; for `graphengine explain` and docs/errors.md.

An example that is a JSON object is the part of a model file that is wrong, or a whole text; one that begins with `$`
is a command, one in brackets is a description, any other is Python.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from graphengine.errors import CODES


class Explanation(NamedTuple):
    """A code in full."""

    cause: str
    remedy: str
    example: str


def explained(code: str) -> dict[str, Any]:
    """Return a code with its title, cause, remedy and example as a JSON object."""
    return {"code": code, "title": CODES[code], **EXPLANATIONS[code]._asdict()}


EXPLANATIONS: dict[str, Explanation] = {
    "GE101": Explanation(
        "The operating system refused to open, read or write the file; the message gives the reason.",
        "Check the path, the permissions and the free space on the disk. An existing file is unchanged. Data "
        "larger than memory is kept in the folder for temporary files, which TMPDIR sets.",
        "$ graphengine run nowhere.json",
    ),
    "GE102": Explanation(
        "The text breaks the grammar of JSON (RFC 8259) at the reported position: an extra comma, a "
        "missing quote, a comment, a file that ends too soon.",
        "Correct the text there or just before.",
        '{"name": "m",}',
    ),
    "GE103": Explanation(
        "The file is larger than the limit file_bytes, 64 MiB.",
        "Keep numbers in safetensors or data files, or raise the limit: load(path, "
        "limits=Limits(file_bytes=2**28)), graphengine --limit file_bytes=256MiB.",
        "ge.load('linreg', limits=Limits(file_bytes=100))",
    ),
    "GE104": Explanation(
        "The file is JSON, but its keys `format` and `format_version` do not identify a model or a function "
        "of a version that this package reads.",
        'Begin the file with "format": "graphengine.model", "format_version": 1; for a newer version, upgrade'
        " the package.",
        '{"format": "graphengine.model", "format_version": 2}',
    ),
    "GE105": Explanation(
        "An op belongs to an opset that opset_imports does not name, or opset_imports asks for a newer "
        "version than the package has.",
        "Add the domain of the op to opset_imports, or upgrade the package.",
        '{"opset_imports": {"core": 99}}',
    ),
    "GE110": Explanation(
        "An object has a key that the format does not know. Nothing is ignored: a typo would "
        "otherwise silently fall back to the default.",
        "Correct or remove the key; notes for people belong under `metadata`.",
        '{"inputs": {"x": {"shape": ["N"], "dtyp": "float32"}}}',
    ),
    "GE111": Explanation(
        "An object lacks a key that has no default.",
        "Add the key; docs/format.md lists the required ones.",
        '{"inputs": {"x": {}}}',
    ),
    "GE112": Explanation(
        "A value has the wrong JSON type, is out of range, or is not one of the allowed values. Nothing is "
        'converted: "1" is not a number, and 1 is not true.',
        "Write the value as the message says.",
        '{"inputs": {"x": {"shape": "N"}}}',
    ),
    "GE120": Explanation(
        "The file begins with U+FEFF, which RFC 8259 forbids in JSON.",
        "Save it as UTF-8 without a byte order mark.",
        '\ufeff{"name": "m"}',
    ),
    "GE121": Explanation(
        "Some bytes are not UTF-8: the file was saved in another encoding.",
        "Save it as UTF-8.",
        "(a file saved as Latin-1 or UTF-16)",
    ),
    "GE122": Explanation(
        "A key occurs twice in one object, perhaps once with escapes. JSON does not define which one counts, "
        "and programs choose differently.",
        "Keep one of the two.",
        '{"name": "a", "name": "b"}',
    ),
    "GE123": Explanation(
        "NaN, Infinity or -Infinity occurs as a bare word. That is not JSON, although some programs write it.",
        'Where the format allows such a number, write the string "NaN", "Infinity" or "-Infinity".',
        '{"metadata": {"a": NaN}}',
    ),
    "GE124": Explanation(
        "A number is too large for a double, which would be infinite.",
        'Write a number up to 1.7976931348623157e308, or the string "Infinity".',
        '{"metadata": {"a": 1e999}}',
    ),
    "GE125": Explanation(
        "An integer does not fit into 64 bits, or a floating-point number is written as an integer beyond "
        "2^53. Not every such integer is a double, so it would be rounded silently.",
        "Write floating-point numbers with an exponent, 1e30; store long integers as strings or in an input "
        "of integer dtype.",
        '{"parameters": {"p": {"shape": [], "initializer": {"type": "constant", "value": 9007199254740993}}}}',
    ),
    "GE126": Explanation(
        "A string has an escape from \\ud800 to \\udfff without its other half, which is not a character.",
        "Write both halves of the pair, or the character itself.",
        '{"name": "\\ud800"}',
    ),
    "GE127": Explanation(
        "Something other than white space follows the JSON value.",
        "Remove it. A file has one value; write two models into two files.",
        '{"name": "m"} {"name": "n"}',
    ),
    "GE130": Explanation(
        "Arrays and objects are nested deeper than the limit depth, 64 levels.",
        "No model should need this; raise the limit if it is intended.",
        "[" * 65 + "]" * 65,
    ),
    "GE131": Explanation(
        "The file has more numbers, strings, arrays and objects than the limit values, ten million.",
        "Keep numbers in safetensors or data files, or raise the limit.",
        "ge.load('linreg', limits=Limits(values=10))",
    ),
    "GE132": Explanation(
        "The file has more nodes than the limit nodes, one million. Or its nodes have more than 131,072 "
        "outputs and, on average, more than the limit node_outputs, 32.",
        "Raise the limit if this is intended.",
        "ge.load('linreg', limits=Limits(nodes=3))",
    ),
    "GE133": Explanation(
        "Inputs, parameters, state, the results of all nodes and large intermediate arrays together take more "
        "bytes than the limit array_bytes, 1 GiB. The bytes are computed from shapes before anything is "
        "allocated: once when a model is loaded, with 1 for unknown sizes, and again with the sizes of each "
        "batch. If the sizes of a result are themselves values, they are checked right before the node runs. "
        "The code also means that data on disk, which is larger than a quarter of the limit data_bytes, 1 "
        "GiB, cannot be read in small pieces, or needs more temporary disk space than the limit disk_bytes, "
        "64 GiB.",
        "Use smaller batches, correct the reported shape, or raise the limit: Limits(array_bytes=2**33), "
        "--limit array_bytes=8GiB.",
        '{"inputs": {"x": {"shape": [1000000000, 1000000000]}}}',
    ),
    "GE134": Explanation(
        "A declared shape, or the result of a node, has more elements than an array can have: 2^63 or more, "
        "or a product of more than 63 symbols, which reaches 2^63 if each symbol is 2. Or a size is written "
        "with more than a thousand characters.",
        "Correct the shape. In a chain of nodes that multiply sizes, the first node beyond the limit is reported.",
        '{"inputs": {"x": {"shape": ["N^64"]}}}',
    ),
    "GE135": Explanation(
        "The loops of a graph (op `scan`) together have more steps than the limit steps, ten million. A "
        "nested loop counts once for each step of the outer loop. Steps are counted before anything runs, and "
        "again with the sizes of a batch.",
        "Use shorter sequences or a smaller length, or raise the limit: `--limit steps=100000000`.",
        "(a node of op `scan` with a `length` of a thousand million)",
    ),
    "GE140": Explanation(
        "A file has more than a hundred problems; only the first are reported.",
        "Fix those; they often have a single cause.",
        "(a thousand nodes that read `xx` where `x` was meant)",
    ),
    "GE201": Explanation(
        "A name is used twice. Inputs, parameters, state and node ids share one namespace.",
        "Rename one of them.",
        '{"nodes": [{"id": "x", "op": "neg", "inputs": ["x"]}], "outputs": {"z": "x"}}',
    ),
    "GE210": Explanation(
        "A name is not defined: there is no input, parameter, state, node, output port, data source, loss or "
        "update rule with that name.",
        "Correct the name; the message suggests the most similar one. Names are case-sensitive.",
        '{"nodes": [{"id": "z", "op": "neg", "inputs": ["xx"]}]}',
    ),
    "GE211": Explanation(
        "No op of that name is registered. A file never loads code, so your own op is only known if you name "
        "its module.",
        "Correct the name (`graphengine ops` lists all), or pass --plugin my_nodes.py.",
        '{"nodes": [{"id": "z", "op": "negg", "inputs": ["x"]}]}',
    ),
    "GE212": Explanation(
        "A node has too many or too few inputs for its op, or names an input that the op does not have.",
        "Give the inputs that the message lists; `graphengine ops NAME` describes them.",
        '{"nodes": [{"id": "z", "op": "mul", "inputs": ["x"]}]}',
    ),
    "GE213": Explanation(
        "A node has an attribute that its op does not have, lacks a required one, or gives one an invalid value.",
        "`graphengine ops NAME` lists the attributes with their types and defaults.",
        '{"nodes": [{"id": "z", "op": "sum", "inputs": ["x"], "attributes": {"axes": 0}}]}',
    ),
    "GE214": Explanation(
        "Nodes depend on each other in a cycle, so none of them can run first. The message shows a shortest cycle.",
        "Break the cycle. To keep a value from one step to the next, declare it as `state`.",
        '{"nodes": [{"id": "z", "op": "neg", "inputs": ["z"]}]}',
    ),
    "GE215": Explanation(
        "Functions call each other in a cycle. Calls are replaced by the nodes of the function, which would never end.",
        "Remove one of the calls.",
        '{"functions": {"f": {"inputs": {"x": {}}, "nodes": [{"id": "a", "op": "f", "inputs": ["x"]}], '
        '"outputs": {"out": "a"}}}}',
    ),
    "GE216": Explanation(
        "After all calls are replaced by the nodes of the functions, the graph would exceed one of the limits "
        "nodes, function_bytes, function_depth and node_outputs. Or its text would be longer than 4 MiB and "
        "longer than 64 times the calls and functions themselves, the limit function_growth. All limits but "
        "node_outputs are checked before any call is replaced.",
        "Make fewer calls, or raise the limit.",
        "(thirty functions, each of which calls the next one twice: 2^30 nodes)",
    ),
    "GE301": Explanation(
        "The shapes or dtypes of a node's inputs do not fit its op. Two symbols never broadcast against each "
        "other: use one symbol for two sizes that are equal. Or the update of a state does not have the "
        "declared shape and dtype of the state.",
        "Correct the declared shapes, or insert a node that reshapes; a node of op cast changes a dtype.",
        '{"inputs": {"x": {"shape": [3]}, "y": {"shape": [4]}}, "nodes": [{"id": "z", "op": "add", "inputs": '
        '["x", "y"]}]}',
    ),
    "GE302": Explanation(
        "A stored value does not have the declared shape or dtype or is not a regular array of numbers, or a "
        "size of a parameter is not a number.",
        "Correct the value or the declaration.",
        '{"parameters": {"p": {"shape": [2], "initializer": {"type": "zeros"}, "value": [1.0]}}}',
    ),
    "GE303": Explanation(
        "The quantity to minimize must be a single floating-point number.",
        "Reduce it with a node of op `mean` or `sum`, or name another value.",
        '{"training": {"loss": "z", "optimizer": {"type": "sgd", "learning_rate": 0.1}, "epochs": 1}}',
    ),
    "GE304": Explanation(
        "An initializer `from_data` names a value that depends on trained parameters or has no axis of "
        "samples, or the statistic does not have the shape and dtype of the parameter.",
        "Name an input, or a value that depends on inputs only; its shape without the first axis is the parameter's.",
        '{"parameters": {"w": {"shape": [3], "initializer": {"type": "from_data", "statistic": "mean", "of": "x"}}}}',
    ),
    "GE305": Explanation(
        "A node of the exported graph cannot be written: ONNX has no equivalent for its op, for a custom node "
        "or for a shape that is only known at run time; the source code of its class cannot be part of a "
        "Python file; or there is no C code for it. Each such node is listed with the reason.",
        "Replace the node, or export to ONNX only outputs that do not depend on it, with `--outputs`.",
        "$ graphengine export wrong.json -o wrong.onnx",
    ),
    "GE306": Explanation(
        "An ONNX file has an op without an equivalent here, or one whose axes, sizes or numbers of iterations "
        "are computed at run time. Each op and reason is listed once, with the nodes.",
        "Fix the value of an input with `--fix`, a size with `--size`, or keep only what comes before the op with "
        "`--head`.",
        "$ graphengine import detector.onnx -o detector.json",
    ),
    "GE307": Explanation(
        "The imported file is not in the ONNX format, or has no graph.",
        "Give an ONNX file. A file with weights alone, such as external data, is not one.",
        "$ graphengine import weights.bin -o model.json",
    ),
    "GE401": Explanation(
        "An input that the requested outputs depend on was not given.",
        "Give the input; the message shows its shape. `predict` only needs the inputs that the requested "
        "outputs depend on.",
        "model.forward()",
    ),
    "GE402": Explanation(
        "The model has no input, output, parameter, value or size of that name.",
        "Correct the name; `graphengine show MODEL` lists them.",
        "model.forward(xx=[1.0])",
    ),
    "GE403": Explanation(
        "The number of dimensions or a size of an array differs from the declaration of the input.",
        "Reshape the array, or declare the shape with a symbol.",
        "model.forward(x=[[1.0]])",
    ),
    "GE404": Explanation(
        "The numbers of an array are of another kind than the dtype of the input, such as floats for "
        "integers; one of them is out of range for the dtype, such as 300 for int8; or the array does not "
        "contain numbers.",
        "Convert it: numpy.asarray(x, dtype).",
        "model.forward(x=['a'])",
    ),
    "GE405": Explanation(
        "Two inputs share a symbolic size and have different numbers for it.",
        "Give arrays with matching sizes, or use two symbols.",
        "model.forward(x=[1.0, 2.0], y=[1.0])",
    ),
    "GE406": Explanation(
        'An input declares "categories", and a value is not among them. The message shows how many such '
        "values there are, and where the first ones are.",
        'Add the value to "categories", or set "unknown" to the index for all other values.',
        "model.predict(species=['setosa', 'virginia'])",
    ),
    "GE410": Explanation(
        "A node's own code failed with these values; the message names node, op, arguments and shapes.",
        "Check the reported values. The id of a node in a function is the path of calls: `layer/z`.",
        "(a node of op `gather` with the index 5 in an array of two)",
    ),
    "GE411": Explanation(
        "The gradient does not exist: the value to differentiate is not a floating-point scalar, or a node on "
        "the path has no `backward`.",
        "Differentiate a scalar. Add a `backward` to the node class, or request only gradients that do not "
        "pass through it.",
        "model.forward(x=[1.0, 2.0]).backward(of='z', wrt='x')",
    ),
    "GE412": Explanation(
        "The gradient that `backward` returns is not the slope of `forward`.",
        "Correct `backward`; the message shows both numbers where they differ most.",
        "(a class `Cube` whose backward gives `grad * x**2`: the slope is 3 * x**2)",
    ),
    "GE413": Explanation(
        "With --check-finite, a node computed NaN or an infinite number from finite inputs.",
        "Check the reported inputs for a logarithm of 0, a division by 0 or an overflow.",
        "$ graphengine run model.json --input x=0 --check-finite",
    ),
    "GE414": Explanation(
        "Data that does not fit into memory is processed in batches, and with 'accumulate' a batch is "
        "processed in parts. Sums, maxima and values computed from them merge over batches. This node needs "
        "all samples at once, and they do not fit into memory.",
        "Raise the limit array_bytes, use ops that merge, such as sum, mean and max, or, for your own node, "
        "declare in its class how it merges: merge = 'sum'.",
        "$ graphengine --limit array_bytes=1MiB run model.json",
    ),
    "GE415": Explanation(
        "The initializer of a parameter computes its value from the training rows, and the model was not trained yet.",
        "Train the model and use the saved file, or call model.initialize(), which computes only these values.",
        "$ graphengine run untrained.json",
    ),
    "GE416": Explanation(
        "A training runs on the jax backend, which compiles its loop, and a node has code that only Python "
        "can run: its `forward` or `backward` depends on values or calls functions that are not ops.",
        "Write the node with NumPy functions that can be recorded, or train with another backend.",
        "$ graphengine run wrong.json --plugin nodes.py --backend jax",
    ),
    "GE417": Explanation(
        "A row-stable evaluation gives a row the same bits in any batch. This output depends on several samples at "
        "once, like a loss or a distance from the mean of the batch, so it changes with the batch.",
        "Ask for outputs with a row for each sample, or evaluate without row_stable.",
        "$ graphengine predict linreg --input 'x=[1, 2]' --input 'y=[1, 2]' --output loss --row-stable",
    ),
    "GE418": Explanation(
        "The worker processes died one after the other, or the scheduler of the cluster did not answer. Often "
        "the machine ran out of memory.",
        "Use fewer workers, or start the scheduler again, and repeat the command: it keeps the finished parts.",
        "$ graphengine score model.json --data 'data/*.parquet' -o scored --dask tcp://127.0.0.1:1",
    ),
    "GE501": Explanation(
        "The file of a data source does not exist, or cannot be read as the declared type.",
        "Check the path, which is relative to the model file, and the type.",
        '{"data": {"d": {"type": "csv", "path": "gone.csv"}}}',
    ),
    "GE502": Explanation(
        "A data file has no column, key, array or tensor of that name, or has several columns of that name.",
        "Correct the name in `columns`, `keys` or `arrays`, or in the file.",
        '{"data": {"d": {"type": "csv", "path": "d.csv", "columns": {"x": "b"}}}}',
    ),
    "GE503": Explanation(
        "A value in the data is missing, is not a number, is out of range for the dtype or, for training, is "
        "not finite.",
        "Correct the reported row, or leave it out.",
        '{"data": {"d": {"type": "inline", "values": {"x": [1.0, null]}}}}',
    ),
    "GE504": Explanation(
        "A path in a model file is absolute, leaves the folder of the file, goes through a link, or names "
        "something that is not a plain file. Or the target of a file to be written is a link or a device, or "
        "the target of a log is a file that is not a log.",
        "Put the data inside the model's folder and use a relative path, data/train.csv; write to a new file.",
        '{"data": {"d": {"type": "csv", "path": "../d.csv"}}}',
    ),
    "GE505": Explanation(
        "Arrays of a data source have different numbers of rows, or do not fit the shapes and dtypes of the inputs.",
        "Correct the sizes; docs/training.md explains what a batch is.",
        "model.train({'x': [1.0, 2.0], 'y': [1.0]})",
    ),
    "GE506": Explanation(
        "The sha256 of a tensor file differs from the one in the model: the two files do not belong together.",
        "Put the tensor file that was saved with the model beside it.",
        "(weights.safetensors of yesterday beside the model of today)",
    ),
    "GE507": Explanation(
        "A column has no value in any training row, has an infinite value, or has too many different values "
        "to find the most frequent one in memory.",
        "Leave the column out, or choose another statistic.",
        "model.train(data={'x': [float('nan')]})",
    ),
    "GE601": Explanation(
        "A loss, gradient, parameter or slot of the optimizer became NaN or infinite, such as the square of a "
        "gradient of 1e20 in single precision. No further step could move the parameter. The message names "
        "the iteration and the first node; the model keeps its last finite values.",
        "Use a smaller learning rate, scale inputs to about 1, or clip the gradient.",
        "model.train(learning_rate=1e200)",
    ),
    "GE602": Explanation(
        "Something that a training needs is missing: data, a limit, a trainable parameter, or a training section.",
        "Add what the message names; keywords of `train` override keys of the file.",
        "model.train({'x': [1.0]})",
    ),
    "GE603": Explanation(
        "A checkpoint cannot be read, belongs to another model, data or settings, or is beyond the end of this one.",
        "Resume the training that wrote it, with limits that it has not reached, or start in another folder.",
        "(a checkpoint written with another learning rate)",
    ),
    "GE604": Explanation(
        "A solver reached a limit, or could not reduce the loss further although the gradient is not zero. At "
        "a converged fit the gradient is zero and no direction is known in which the loss decreases. The "
        "values so far are printed and saved.",
        "Raise max_iterations, start from other values, or parametrize the model differently: a sum of "
        "squares that decreases without bound has no minimum.",
        "$ graphengine fit thurber --max-iterations 3",
    ),
    "GE605": Explanation(
        "The loss is larger at the end of a training than at its beginning, so the model is worse than "
        "before. It is a warning: the values are finite, and the result is available.",
        "Lower the learning rate, scale the inputs to about 1, and look for shapes that broadcast by mistake, such as "
        "(N, 1) and (N,).",
        "$ graphengine train linreg --learning-rate 1.0 --epochs 5",
    ),
    "GE606": Explanation(
        "A checkpoint was written with another backend, version, matrix library, SIMD group or number of "
        "threads. Sums may now be added in another order, so the resumed training may differ from an "
        "uninterrupted one in the last bits. It is a warning.",
        "Resume in the environment that the message names, or accept that the last bits may differ.",
        "(a checkpoint of another machine, and --resume)",
    ),
    "GE607": Explanation(
        "The workers that compute the gradients of a training, or their scheduler, are gone. A worker that "
        "ends is replaced, and its shards are computed again; the error means that none is left. With a "
        "checkpoint folder all completed iterations are saved.",
        "Start the scheduler and the workers again, and resume: --checkpoint FOLDER --resume. The bits do not depend "
        "on how many workers there are.",
        "(a scheduler that is stopped during a training)",
    ),
    "GE701": Explanation(
        "A node class violates the node contract; the message shows how to write it.",
        "See docs/custom_nodes.md for the contract.",
        "(a node class without a `forward`)",
    ),
    "GE702": Explanation(
        "Two classes register the same name.",
        "Choose another name, in your own domain, or pass replace=True.",
        "@ge.register('neg')",
    ),
    "GE801": Explanation(
        "The command line, or a call, asks for something that does not exist or is not allowed.",
        "Read the message; `graphengine COMMAND --help` lists the options.",
        "$ graphengine run",
    ),
    "GE802": Explanation(
        "A plugin was not found, or raised an error while it was loaded; the message shows that error.",
        "Name a .py file, a module that can be imported, or an entry point of the group graphengine.nodes.",
        "$ graphengine ops --plugin nowhere.py",
    ),
    "GE803": Explanation(
        "The command or call needs a package that is not installed.",
        "Install the extra that the message names: pip install 'graphengine[...]'.",
        "(data of type parquet without pyarrow)",
    ),
    "GE901": Explanation(
        "Two operands have the same size on different axes, such as (N, 1) and (N,), so their difference is "
        "(N, N): it pairs each sample with every other one, and a loss adds up all pairs. It is a warning. It "
        "is only given if the shorter operand lacks the axis, no `expand_dims`, `reshape`, `transpose` or "
        "`keepdims` creates the axis of size 1 explicitly, a numeric size is that of the samples on both "
        "sides, and a loss, a metric or a scalar output depends on the result.",
        "Give both the same shape, with a node of op `squeeze` or `expand_dims` or another declared shape. If "
        "all pairs are intended, as for distances, create the axis with a node of op `expand_dims`.",
        "(loss = mean((y - x @ w)^2) with y of shape [N] and w of shape [F, 1])",
    ),
    "GE902": Explanation(
        "A trainable parameter has no influence on the loss of the training section, so its gradient is zero. It is a "
        "warning: the parameter keeps its value, and no update rule decays it.",
        'Use the parameter, remove it, or declare "trainable": false.',
        "(a parameter `bias` that no node reads)",
    ),
    "GE903": Explanation(
        "A prediction depends on trainable parameters whose values come from their initializers: the file has "
        "no values for them, and they were not trained. It is a warning: the prediction is that of the "
        "untrained model.",
        "Train the model, save it, and predict with the file that was saved.",
        "$ graphengine predict linreg --input x=[1]",
    ),
    "GE904": Explanation(
        "By an estimate from the declared sizes, the values, gradients and updates of one training step take "
        "more memory than the limit array_bytes. It is a warning, because a prediction may fit.",
        "Use a smaller batch_size, set accumulate, or raise the limit: --limit array_bytes=4GiB.",
        "$ graphengine --limit array_bytes=1MiB validate mlp_digits",
    ),
}
"""A test holds this table to the table of codes, and runs the examples that are JSON."""
