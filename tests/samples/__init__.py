"""ONE table of samples for each op. The laws of `test_laws.py` hold for every row.

A new op gets an entry here and is tested by all laws: one module for each family of `graphengine/ops/families/`,
under the same name, each with a dictionary `TABLE` from op names to `Samples`.
"""

import importlib
import pkgutil

FAMILIES = {
    family: module.TABLE
    for family in sorted(found.name for found in pkgutil.iter_modules(__path__))
    if hasattr(module := importlib.import_module(f"{__name__}.{family}"), "TABLE")
}
TABLE = {name: entry for entries in FAMILIES.values() for name, entry in entries.items()}
SAMPLES = {name: entry.rows for name, entry in TABLE.items()}
