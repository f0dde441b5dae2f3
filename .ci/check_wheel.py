"""Checks that a wheel holds the package, its data, and nothing else: `python check_wheel.py FILE.whl`."""

import sys
import zipfile

NEEDED = (
    "graphengine/py.typed",
    "graphengine/models/linreg.json",
    "graphengine/models/data/hubble_1929.csv",
    "graphengine/schemas/model-1.schema.json",
    "graphengine/training/rules/sgd.json",
    "graphengine/page/assets/page.html",
    "graphengine/page/assets/main.js",
)


def main(path: str) -> None:
    """Leave with a message if something is missing or does not belong there."""
    names = zipfile.ZipFile(path).namelist()
    tops = {name.partition("/")[0] for name in names}
    strange = sorted(top for top in tops if top != "graphengine" and not top.endswith(".dist-info"))
    strange += [name for name in names if name.endswith((".pyc", "~")) or "__pycache__" in name]
    missing = [name for name in NEEDED if name not in names]
    if strange or missing:
        sys.exit(f"{path}: does not belong there: {strange}, missing: {missing}")


if __name__ == "__main__":
    main(sys.argv[1])
