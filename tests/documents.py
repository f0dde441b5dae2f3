"""Model files as Python objects, short enough to stand in a test."""

import copy
from pathlib import Path

import numpy as np
import orjson
import pytest

import graphengine as ge
from graphengine.format.saving import node_document
from graphengine.format.writing import encode_array
from graphengine.ir.graph_bodies import GraphBody

MODELS = Path(__file__).parent.parent / "models"
SHIPPED = sorted(MODELS.glob("*.json"))


PEAK = """
import resource, sys
from pathlib import Path

def peak():
    # bytes; `ru_maxrss` would begin with the memory of the process that started this one
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
"""
"""The highest memory of a process so far, for scripts that tests run."""


KILLED_AT = """
import os, signal

def killed_at(last, steps):
    # lets this process make as many of some calls of the system, and kills it at the next one
    count = 0
    for name in steps:
        def called(*arguments, real=getattr(os, name), **named):
            nonlocal count
            count += 1
            if count > last:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **named)
        setattr(os, name, called)

def killed_child(work, last, steps):
    # whether a child that does some work is killed by that
    child = os.fork()
    if not child:
        killed_at(last, steps)
        work()
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])
"""
"""Kills a process at a step of its work, for scripts that tests run."""


def document(nodes, outputs=None, *, inputs=None, parameters=None, **sections):
    """The content of a model file.

    `nodes` maps ids to (op, inputs) or (op, inputs, attributes), `inputs` maps names to shapes or declarations,
    `parameters` names to values or declarations. Without `outputs` the last node is the output "out".
    """
    made = [node(name, *spec) for name, spec in nodes.items()]
    if functions := functions_among(made):
        sections = {"functions": functions, **sections}
    return {
        "format": "graphengine.model",
        "format_version": 1,
        "opset_imports": {"core": 1},
        "name": "test",
        "inputs": {name: shape if isinstance(shape, dict) else {"shape": shape} for name, shape in _items(inputs)},
        "parameters": {
            name: value if isinstance(value, dict) else parameter(value) for name, value in _items(parameters)
        },
        "nodes": made,
        "outputs": {"out": list(nodes)[-1]} if outputs is None else outputs,
        **sections,
    }


def functions_among(nodes):
    """The functions that are attributes of nodes, as the section of a file; the nodes then name them."""
    found = {}
    for each in nodes:
        for name, value in (each.get("attributes") or {}).items():
            if isinstance(value, GraphBody):
                graph_nodes = [node_document(inner) for inner in value.nodes]
                outputs = dict(value.results)
                found[value.name] = {
                    "inputs": {key: {} for key in value.inputs},
                    "nodes": graph_nodes,
                    "outputs": outputs,
                }
                each["attributes"] = {**each["attributes"], name: value.name}
    return found


def _items(mapping):
    return (mapping or {}).items()


def node(name, op, inputs, attributes=None):
    return {"id": name, "op": op, "inputs": inputs, **({"attributes": attributes} if attributes else {})}


def parameter(value, **keys):
    """A parameter declaration with the shape of a value and the value itself."""
    array = np.asarray(value)
    return {
        "shape": list(array.shape),
        "initializer": {"type": "zeros"},
        "value": encode_array(array),
        **keys,
    }


def linreg(*, shape=("N",), theta=0.0, **sections):
    """Linear regression without a bias term; a scalar shape gives the single-sample form, which has no mean."""
    nodes = {"y_hat": ("mul", ["theta", "x"]), "error": ("sub", ["y", "y_hat"])}
    if shape:
        nodes |= {"sq": ("square", ["error"]), "loss": ("mean", ["sq"])}
    else:
        nodes |= {"loss": ("square", ["error"])}
    inputs = {"x": list(shape), "y": list(shape)}
    outputs = {"prediction": "y_hat", "loss": "loss"}
    return document(nodes, outputs, inputs=inputs, parameters={"theta": theta}, **sections)


def training(**keys):
    """A training section with a rate of 0.1 and one epoch, with keys replaced."""
    rate = keys.pop("learning_rate", 0.1)
    return {"loss": "loss", "optimizer": {"type": "sgd", "learning_rate": rate}, "epochs": 1, **keys}


def model(*args, **keys):
    return ge.Model.from_dict(document(*args, **keys))


def changed(content, path, value):
    """A copy of a document with another value at a path."""
    content = copy.deepcopy(content)
    inner = content
    for part in path[:-1]:
        inner = inner[part]
    inner[path[-1]] = value
    return content


def write(path, content):
    path.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
    return path


def problems_of(content):
    """The problems that loading finds, all of them."""
    with pytest.raises(ge.errors.GraphEngineError) as caught:
        ge.Model.from_dict(content)
    return caught.value.problems


def problem_of(content):
    """The one problem that loading finds."""
    found = problems_of(content)
    assert len(found) == 1, [str(problem) for problem in found]
    return found[0]


def codes_of(content):
    return [problem.code for problem in problems_of(content)]
