"""Checks a wheel: `python check_wheel.py FILE.whl`.

It must hold the package, its data, and nothing else, and a description without relative links, which an index page
could not follow.
"""

import re
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
    wheel = zipfile.ZipFile(path)
    names = wheel.namelist()
    tops = {name.partition("/")[0] for name in names}
    strange = sorted(top for top in tops if top != "graphengine" and not top.endswith(".dist-info"))
    strange += [name for name in names if name.endswith((".pyc", "~")) or "__pycache__" in name]
    missing = [name for name in NEEDED if name not in names]
    if strange or missing:
        sys.exit(f"{path}: does not belong there: {strange}, missing: {missing}")
    about = next(name for name in names if name.endswith(".dist-info/METADATA"))
    if relative := re.findall(r"\]\((?!https?:|#)[^)]*\)", wheel.read(about).decode()):
        sys.exit(f"{path}: relative links in the description: {relative}")


if __name__ == "__main__":
    main(sys.argv[1])
