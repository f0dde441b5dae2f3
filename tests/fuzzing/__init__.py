"""Hostile model files: made by changing good ones, and what must hold of whatever comes out.

`python -m tests.fuzzing --minutes 30` looks for a file that breaks it. `tests/fuzzing/coverage_guided.py` is a target
for atheris, which finds its way by the coverage: `pip install atheris`, then
`python tests/fuzzing/coverage_guided.py -max_total_time=600`.
"""
