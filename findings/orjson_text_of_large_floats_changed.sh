#!/usr/bin/env bash
# orjson 3.11.6 and 3.13.0, Python 3.11: the text of the same float differs between two versions.
#
# Both versions write the shortest digits that read back as the same number, but not the same text: 1e16 is "1e16" in
# one version and "1e+16" in the other. Both are valid JSON for the same number. A hash of the bytes that orjson writes,
# or a diff of files that two people saved, therefore depends on the installed version.
# Seen: 3.11.6 writes 1e16 and 1.5e300; 3.13.0 writes 1e+16 and 1.5e+300; 0.1 and 5e-324 are the same in both.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for version in 3.11.6 3.13.0; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/pip" install -q "orjson==$version"
    "$folder/$version/bin/python" -c 'import orjson; print(orjson.dumps([1e16, 1.5e300, 0.1, 5e-324]).decode())' | tee "$folder/$version.txt"
done
grep -qxF '[1e16,1.5e300,0.1,5e-324]' "$folder/3.11.6.txt"
grep -qxF '[1e+16,1.5e+300,0.1,5e-324]' "$folder/3.13.0.txt"
