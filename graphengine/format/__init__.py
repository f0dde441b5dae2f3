"""The model file: its documents, reading with located errors, writing in one canonical form, its JSON Schema."""

from graphengine.format.documents import FORMAT, FORMAT_VERSION, ModelDocument
from graphengine.format.files import write_bytes
from graphengine.format.meaning import fingerprint
from graphengine.format.reading import parse_model, read_model
from graphengine.format.writing import dump_model

__all__ = [
    "FORMAT",
    "FORMAT_VERSION",
    "ModelDocument",
    "dump_model",
    "fingerprint",
    "parse_model",
    "read_model",
    "write_bytes",
]
