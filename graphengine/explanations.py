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
    """All that is known of a code, as a JSON object."""
    return {"code": code, "title": CODES[code], **EXPLANATIONS[code]._asdict()}


EXPLANATIONS: dict[str, Explanation] = {
    "GE101": Explanation(
        "The system does not let the file be opened, read or written; its own reason is in the message.",
        "Check the path, the permissions and the space on the disk. An old file is whole: nothing was written over it. "
        "Data larger than memory is kept in the folder for temporary files, which TMPDIR names.",
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
        "The file is JSON, but its keys `format` and `format_version` do not say that it is a model, or a "
        "function, of a version that this package reads.",
        'Begin the file with "format": "graphengine.model", "format_version": 1; for a newer version, upgrade'
        " the package.",
        '{"format": "graphengine.model", "format_version": 2}',
    ),
    "GE105": Explanation(
        "An op belongs to a set that opset_imports does not name, or the version named there is newer than "
        "the package's.",
        "Add the domain of the op to opset_imports, or upgrade the package.",
        '{"opset_imports": {"core": 99}}',
    ),
    "GE110": Explanation(
        "An object has a key that the format does not know. Nothing is ignored: a typo would "
        "otherwise silently fall back to the default.",
        "Correct the key, remove it, or put what is only for people under `metadata`.",
        '{"inputs": {"x": {"shape": ["N"], "dtyp": "float32"}}}',
    ),
    "GE111": Explanation(
        "An object lacks a key that has no default.",
        "Add the key; docs/format.md lists the required ones.",
        '{"inputs": {"x": {}}}',
    ),
    "GE112": Explanation(
        "A value is of another JSON type than the format has there, outside its bounds, or none of the "
        'possible ones. Nothing is converted: "1" is no number, and 1 is not true.',
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
        "A key occurs twice in one object, perhaps once with escapes. JSON does not say which counts, and "
        "programs choose differently.",
        "Keep one of the two.",
        '{"name": "a", "name": "b"}',
    ),
    "GE123": Explanation(
        "NaN, Infinity or -Infinity occurs as a bare word. That is not JSON, although some programs write it.",
        'Write the string "NaN", "Infinity" or "-Infinity" where the format takes such a number.',
        '{"metadata": {"a": NaN}}',
    ),
    "GE124": Explanation(
        "A number is so large that as a double it is infinite.",
        'Write a number up to 1.7976931348623157e308, or the string "Infinity".',
        '{"metadata": {"a": 1e999}}',
    ),
    "GE125": Explanation(
        "An integer does not fit 64 bits, or is given where a floating-point number is meant and is beyond "
        "2^53, from where on not every integer is a double: it would silently be rounded.",
        "Write a floating-point number as one, 1e30; keep long integers in strings or under an integer dtype.",
        '{"parameters": {"p": {"shape": [], "initializer": {"type": "constant", "value": 9007199254740993}}}}',
    ),
    "GE126": Explanation(
        "A string has an escape from \\ud800 to \\udfff without its other half: that is no character.",
        "Write both halves of the pair, or the character itself.",
        '{"name": "\\ud800"}',
    ),
    "GE127": Explanation(
        "Something other than white space follows the JSON value.",
        "Remove it. A file has one value; two models are two files.",
        '{"name": "m"} {"name": "n"}',
    ),
    "GE130": Explanation(
        "Arrays and objects are nested deeper than the limit depth, 64 levels.",
        "No model needs that; where it is meant, raise the limit.",
        "[" * 65 + "]" * 65,
    ),
    "GE131": Explanation(
        "The file has more numbers, strings, arrays and objects than the limit values, ten million.",
        "Keep numbers in safetensors or data files, or raise the limit.",
        "ge.load('linreg', limits=Limits(values=10))",
    ),
    "GE132": Explanation(
        "The file has more nodes than the limit nodes, one million, or its nodes have more outputs than 131,072 "
        "and, on average, than the limit node_outputs, 32.",
        "Raise the limit if that is meant.",
        "ge.load('linreg', limits=Limits(nodes=3))",
    ),
    "GE133": Explanation(
        "Inputs, parameters, state, the results of all nodes and large arrays on the way to them take more bytes "
        "together than the limit array_bytes, 1 GiB. That is computed from shapes before anything is made: once when a "
        "model is loaded, with unknown sizes as 1, and again with the sizes of each batch. What a node gives whose "
        "sizes are values is counted when they are there, before it runs. Or data that stays on disk, because "
        "it is larger than a quarter of the limit data_bytes, 1 GiB, cannot be read in small pieces, or takes more "
        "temporary files than the limit disk_bytes, 64 GiB.",
        "Use smaller batches, correct the reported shape, or raise the limit: Limits(array_bytes=2**33), "
        "--limit array_bytes=8GiB.",
        '{"inputs": {"x": {"shape": [1000000000, 1000000000]}}}',
    ),
    "GE134": Explanation(
        "A declared shape, or the result of a node, has more elements than an array can have: 2^63 or more, or the "
        "product of more than 63 symbols, which would be as many as soon as each is 2. Or a size is longer than a "
        "thousand characters.",
        "Correct the shape. In a chain of nodes that multiply sizes, the first node that goes too far is reported.",
        '{"inputs": {"x": {"shape": ["N^64"]}}}',
    ),
    "GE135": Explanation(
        "The loops of a graph (op `scan`) have more steps together than the limit steps, ten million. A loop within a "
        "loop counts once for each step around it. It is counted before anything runs, and again with the sizes of a "
        "batch.",
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
        "A name refers to nothing: no input, parameter, state, node or output port is called so; or an input,"
        " data source, loss or update rule of that name is not there.",
        "Correct the name; the message has the nearest one. Names are case-sensitive.",
        '{"nodes": [{"id": "z", "op": "neg", "inputs": ["xx"]}]}',
    ),
    "GE211": Explanation(
        "No op of that name is registered. A file never loads code, so an op of your own is known only if you"
        " name its module.",
        "Correct the name (`graphengine ops` lists all), or pass --plugin my_nodes.py.",
        '{"nodes": [{"id": "z", "op": "negg", "inputs": ["x"]}]}',
    ),
    "GE212": Explanation(
        "A node has another number of inputs than its op, or names one that the op does not have.",
        "Give the inputs that the message lists; `graphengine ops NAME` has them in detail.",
        '{"nodes": [{"id": "z", "op": "mul", "inputs": ["x"]}]}',
    ),
    "GE213": Explanation(
        "A node has an attribute that its op does not have, lacks one that it needs, or gives it a wrong value.",
        "`graphengine ops NAME` lists the attributes with their types and defaults.",
        '{"nodes": [{"id": "z", "op": "sum", "inputs": ["x"], "attributes": {"axes": 0}}]}',
    ),
    "GE214": Explanation(
        "Nodes depend on each other in a circle, so none of them can run first. The message shows a shortest one.",
        "Break the circle. What is to be kept from one step to the next is `state`.",
        '{"nodes": [{"id": "z", "op": "neg", "inputs": ["z"]}]}',
    ),
    "GE215": Explanation(
        "Functions call each other in a circle. A call is replaced by the nodes of the function, which would "
        "never end.",
        "Remove one of the calls.",
        '{"functions": {"f": {"inputs": {"x": {}}, "nodes": [{"id": "a", "op": "f", "inputs": ["x"]}], '
        '"outputs": {"out": "a"}}}}',
    ),
    "GE216": Explanation(
        "With all calls replaced by the nodes of the functions, the graph would have more nodes, text, "
        "levels of calls or outputs of nodes than the limits nodes, function_bytes, function_depth and node_outputs. "
        "Or the text would be longer than 4 MiB and than 64 times the calls and functions themselves, the limit "
        "function_growth. All but the outputs is counted before any call is replaced.",
        "Call less, or raise the limit.",
        "(thirty functions, each of which calls the next one twice: 2^30 nodes)",
    ),
    "GE301": Explanation(
        "The shapes or dtypes of a node's inputs do not fit its op. Two symbols never broadcast against each "
        "other: a model in which two sizes are equal says so with one symbol. Or the update of a state is not of the "
        "shape and dtype that the state is declared with, and keeps.",
        "Correct the declared shapes, or reshape in between; a node of op cast changes a dtype.",
        '{"inputs": {"x": {"shape": [3]}, "y": {"shape": [4]}}, "nodes": [{"id": "z", "op": "add", "inputs": '
        '["x", "y"]}]}',
    ),
    "GE302": Explanation(
        "A stored value does not have the shape or dtype that is declared, is not a regular array of numbers,"
        " or the sizes of a parameter are no numbers.",
        "Correct the value or the declaration.",
        '{"parameters": {"p": {"shape": [2], "initializer": {"type": "zeros"}, "value": [1.0]}}}',
    ),
    "GE303": Explanation(
        "The quantity to minimize must be a single floating-point number.",
        "Reduce it with a node of op `mean` or `sum`, or name another value.",
        '{"training": {"loss": "z", "optimizer": {"type": "sgd", "learning_rate": 0.1}, "epochs": 1}}',
    ),
    "GE304": Explanation(
        "An initializer `from_data` names a value that depends on what is trained or has no axis of samples, or whose "
        "statistic has another shape or dtype than the parameter.",
        "Name an input, or a value that depends on inputs only; its shape without the first axis is the parameter's.",
        '{"parameters": {"w": {"shape": [3], "initializer": {"type": "from_data", "statistic": "mean", "of": "x"}}}}',
    ),
    "GE305": Explanation(
        "A graph is exported, and a node cannot be written: ONNX has no counterpart of its op, of a user's own node or "
        "of a shape that is known only at run time; the source of its class cannot be part of a Python file; C has no "
        "code for it. Each such node is listed with the reason.",
        "Replace the node, or export to ONNX with `--outputs` only what does not depend on it.",
        "$ graphengine export wrong.json -o wrong.onnx",
    ),
    "GE306": Explanation(
        "An ONNX file has an op that has no counterpart here, or whose axes, sizes or numbers of iterations are "
        "computed at run time. Each op and reason is listed once, with the nodes.",
        "Fix the value of an input with `--fix`, a size with `--size`, or keep only what comes before the op with "
        "`--head`.",
        "$ graphengine import detector.onnx -o detector.json",
    ),
    "GE307": Explanation(
        "The file that is imported is not in the format of ONNX, or has no graph.",
        "Give an ONNX file. A file with weights alone, such as external data, is not one.",
        "$ graphengine import weights.bin -o model.json",
    ),
    "GE401": Explanation(
        "An input that the asked outputs depend on was not given.",
        "Give it; the message has its shape. `predict` needs only what the asked outputs depend on.",
        "model.forward()",
    ),
    "GE402": Explanation(
        "The model has no input, output, parameter, value or size of that name.",
        "Correct the name; `graphengine show MODEL` lists them.",
        "model.forward(xx=[1.0])",
    ),
    "GE403": Explanation(
        "An array has another number of dimensions, or another size, than the input declares.",
        "Reshape the array, or declare the shape with a symbol.",
        "model.forward(x=[[1.0]])",
    ),
    "GE404": Explanation(
        "An array's numbers are of another kind than the input's dtype, such as floats for integers, the dtype "
        "does not have one of them, such as 300 for int8, or the array holds no numbers.",
        "Convert it: numpy.asarray(x, dtype).",
        "model.forward(x=['a'])",
    ),
    "GE405": Explanation(
        "Two inputs share a symbolic size and have different numbers for it.",
        "Give arrays that agree, or use two symbols.",
        "model.forward(x=[1.0, 2.0], y=[1.0])",
    ),
    "GE406": Explanation(
        'An input declares "categories", and a value is not among them. The message has the number of such values and '
        "their first places.",
        'Add the value to "categories", or set "unknown" to the index for all other values.',
        "model.predict(species=['setosa', 'virginia'])",
    ),
    "GE410": Explanation(
        "A node's own code failed with these values; the message names node, op, arguments and shapes.",
        "Look at the reported values. In a function's node, the id is the way of calls: `layer/z`.",
        "(a node of op `gather` with the index 5 in an array of two)",
    ),
    "GE411": Explanation(
        "There is no such gradient: it was asked of something that is no floating-point scalar, or a node on "
        "the way has no `backward`.",
        "Differentiate a scalar; give the node class a `backward`, or stop asking for gradients through it.",
        "model.forward(x=[1.0, 2.0]).backward(of='z', wrt='x')",
    ),
    "GE412": Explanation(
        "The gradient that `backward` gives is not the slope of `forward`.",
        "Correct `backward`; the message has both numbers at the worst place.",
        "(a class `Cube` whose backward gives `grad * x**2`: the slope is 3 * x**2)",
    ),
    "GE413": Explanation(
        "With --check-finite, a node gave NaN or an infinite number although all that it read was finite.",
        "Look at the reported inputs: a logarithm of 0, a division by 0, an overflow.",
        "$ graphengine run model.json --input x=0 --check-finite",
    ),
    "GE414": Explanation(
        "Data that does not fit into memory is worked on in batches, and so is a batch with 'accumulate'. Sums, maxima "
        "and what is made of them merge over batches. This node needs all samples at once, and there is no room for "
        "them.",
        "Raise the limit array_bytes, use ops that merge, such as sum, mean and max, or, if the node is one of yours, "
        "declare in its class how it merges: merge = 'sum'.",
        "$ graphengine --limit array_bytes=1MiB run model.json",
    ),
    "GE415": Explanation(
        "The initializer of a parameter takes its numbers from the rows of a training, and there was none yet.",
        "Train the model and use the saved file, or call model.initialize(), which computes these values alone.",
        "$ graphengine run untrained.json",
    ),
    "GE416": Explanation(
        "A training runs on the jax backend, whose loop is compiled, and a node has code that only Python runs: its "
        "`forward` or `backward` looks at values or calls what is no op.",
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
        "The processes that share the work died one after the other, or the scheduler of the cluster did not answer. "
        "Often the memory of the machine was used up.",
        "Use fewer workers, or start the scheduler again, and run the same command: what is done is not done again.",
        "$ graphengine score model.json --data 'data/*.parquet' -o scored --dask tcp://127.0.0.1:1",
    ),
    "GE501": Explanation(
        "The file of a data source is not there or cannot be read as what it is declared to be.",
        "Check the path, which is relative to the model file, and the type.",
        '{"data": {"d": {"type": "csv", "path": "gone.csv"}}}',
    ),
    "GE502": Explanation(
        "A data file has no column, key, array or tensor of that name, or has several columns of that name.",
        "Correct the name in `columns`, `keys` or `arrays`, or in the file.",
        '{"data": {"d": {"type": "csv", "path": "d.csv", "columns": {"x": "b"}}}}',
    ),
    "GE503": Explanation(
        "A value in the data is missing, is no number, does not fit the dtype or, for training, is not finite.",
        "Correct the reported row, or leave it out.",
        '{"data": {"d": {"type": "inline", "values": {"x": [1.0, null]}}}}',
    ),
    "GE504": Explanation(
        "A path in a model file is absolute, leaves the folder of the file, goes through a link, or names "
        "something that is no plain file; or a file is to be written over a link or a device, or a log to be added to "
        "a file that is none.",
        "Put the data inside the model's folder and name it plainly, data/train.csv; write into a new file.",
        '{"data": {"d": {"type": "csv", "path": "../d.csv"}}}',
    ),
    "GE505": Explanation(
        "Arrays of a data source have different numbers of rows, or do not fit the shapes and dtypes of the inputs.",
        "Make them agree; docs/training.md explains what a batch is.",
        "model.train({'x': [1.0, 2.0], 'y': [1.0]})",
    ),
    "GE506": Explanation(
        "The sha256 of a file of tensors is not the one in the model: the two do not belong together.",
        "Copy the file that was saved with the model beside it again.",
        "(weights.safetensors of yesterday beside the model of today)",
    ),
    "GE507": Explanation(
        "A column has no value in any row that is trained on, an infinite one, or so many different ones that their "
        "mode does not fit into memory.",
        "Leave the column out, or choose another statistic.",
        "model.train(data={'x': [float('nan')]})",
    ),
    "GE601": Explanation(
        "A loss, gradient, parameter or slot of the optimizer became NaN or infinite: the square of a gradient of 1e20 "
        "does in single precision, and no further step would move the parameter. The message says at which iteration "
        "and in which node first; the model keeps its last finite values.",
        "Use a smaller learning rate, scale inputs to about 1, or clip the gradient.",
        "model.train(learning_rate=1e200)",
    ),
    "GE602": Explanation(
        "Something that a training needs is missing: data, a limit, something trainable, a training section.",
        "The message says what; keywords of `train` replace keys of the file.",
        "model.train({'x': [1.0]})",
    ),
    "GE603": Explanation(
        "A checkpoint cannot be read, belongs to another model, data or settings, or is beyond the end of this one.",
        "Resume the training that wrote it, with limits it has not reached, or begin anew in another folder.",
        "(a checkpoint written with another learning rate)",
    ),
    "GE604": Explanation(
        "A solver ended at a limit, or where it could gain nothing more although the slope is not zero. Where a fit "
        "converges, the slope is zero and no direction is known that leads down. The values so far are printed and "
        "saved.",
        "Raise max_iterations, start from other values, or write the model with other parameters: a sum of squares "
        "that falls forever has no minimum.",
        "$ graphengine fit thurber --max-iterations 3",
    ),
    "GE605": Explanation(
        "The loss is larger at the end of a training than at its beginning, so the model is worse than before. It is a "
        "warning: the values are finite, and the result is there.",
        "Lower the learning rate, scale the inputs to about 1, and look for shapes that broadcast by mistake, such as "
        "(N, 1) and (N,).",
        "$ graphengine train linreg --learning-rate 1.0 --epochs 5",
    ),
    "GE606": Explanation(
        "A checkpoint was written with another backend, version, matrix library, SIMD group or number of threads. Sums "
        "may be added in another order there, so the resumed training may differ from an uninterrupted one in the last "
        "bits. It is a warning.",
        "Resume with what the message names, or accept other last bits.",
        "(a checkpoint of another machine, and --resume)",
    ),
    "GE607": Explanation(
        "The workers that compute the gradients of a training, or the scheduler that knows them, are gone. A worker "
        "that ends is replaced, and its shards are computed again; this is an error where none is left. With a folder "
        "for checkpoints all iterations before are saved.",
        "Start the scheduler and the workers again, and resume: --checkpoint FOLDER --resume. The bits do not depend "
        "on how many workers there are.",
        "(a scheduler that is stopped during a training)",
    ),
    "GE701": Explanation(
        "A node class breaks the node contract; the message shows how to write it.",
        "docs/custom_nodes.md has the contract.",
        "(a node class without a `forward`)",
    ),
    "GE702": Explanation(
        "Two classes register one name.",
        "Choose another name, in a domain of your own, or pass replace=True.",
        "@ge.register('neg')",
    ),
    "GE801": Explanation(
        "The command line, or a call, asks for something that there is not.",
        "graphengine COMMAND --help.",
        "$ graphengine run",
    ),
    "GE802": Explanation(
        "A plugin is not there, or failed while it was loaded; its own error is in the message.",
        "Name a .py file, a module that can be imported, or an entry point of the group graphengine.nodes.",
        "$ graphengine ops --plugin nowhere.py",
    ),
    "GE803": Explanation(
        "Something asked for needs a package that is not installed.",
        "Install the extra that the message names: pip install 'graphengine[...]'.",
        "(data of type parquet without pyarrow)",
    ),
    "GE901": Explanation(
        "Two operands have the same size on different axes, such as (N, 1) and (N,), so their difference is (N, N): "
        "each sample with each other one, and a loss adds all pairs up. It is a warning, and given only where the "
        "shorter operand lacks the axis, no `expand_dims`, `reshape`, `transpose` or `keepdims` writes down the axis "
        "of size 1, a size in numbers is that of the samples on both sides, and a loss, a metric or a scalar output "
        "depends on the result.",
        "Give both the same shape: a node of op `squeeze` on the one, of op `expand_dims` on the other, or another "
        "declared shape. Where all pairs are meant, as for distances, make the axis with a node of op `expand_dims`.",
        "(loss = mean((y - x @ w)^2) with y of shape [N] and w of shape [F, 1])",
    ),
    "GE902": Explanation(
        "A trainable parameter has no influence on the loss of the training section, so its gradient is zero. It is a "
        "warning: the parameter keeps its value, and no update rule decays it.",
        'Use the parameter, remove it, or declare "trainable": false.',
        "(a parameter `bias` that no node reads)",
    ),
    "GE903": Explanation(
        "A prediction depends on trainable parameters whose values come from their initializers: the file has no "
        "values for them, and they were not trained. It is a warning: the numbers are those of the model at its start.",
        "Train the model, save it, and predict with the file that was saved.",
        "$ graphengine predict linreg --input x=[1]",
    ),
    "GE904": Explanation(
        "One step of the training, its values, gradients and what the update rule computes, takes more memory than the "
        "limit array_bytes, by an estimate from the declared sizes. It is a warning, because a prediction may fit.",
        "Use a smaller batch_size, set accumulate, or raise the limit: --limit array_bytes=4GiB.",
        "$ graphengine --limit array_bytes=1MiB validate mlp_digits",
    ),
}
"""A test holds this table to the table of codes, and runs the examples that are JSON."""
