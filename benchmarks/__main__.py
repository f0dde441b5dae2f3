"""The command: `python -m benchmarks [name ...] [--quick | --full] [--format json] [--check]`."""

from __future__ import annotations

import argparse
import importlib
import sys

from benchmarks.harness import Options, Table
from benchmarks.report import as_json, as_text

BENCHMARKS = (
    "per_sample",
    "full_batch",
    "mlp",
    "chain",
    "loading",
    "strict_json",
    "functions",
    "cold_start",
    "compiling",
    "predict",
    "exported_step",
    "onnx_import",
    "layers",
    "recurrent",
    "sums",
    "growth",
    "hostile",
    "parameters",
    "streaming",
    "on_disk",
    "csv_table",
    "fits",
    "dynamics",
    "score",
    "score_workers",
    "workers",
)


def main() -> int:
    """Run the named benchmarks, or all; 1 if `--check` is given and a goal was missed."""
    arguments = parser().parse_args()
    options = Options(arguments.quick, arguments.full)
    tables: list[Table] = []
    for name in arguments.names or BENCHMARKS:
        for table in importlib.import_module(f"benchmarks.{name}").run(options):
            tables.append(table)
            if arguments.format == "table":
                print(as_text(table), end="\n\n", flush=True)
    if arguments.format == "json":
        print(as_json(tables))
    missed = any(ratio > goal.at_most for table in tables for goal, ratio in table.results())
    return int(arguments.check and missed)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    result.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(BENCHMARKS)}; default: all")
    length = result.add_mutually_exclusive_group()
    length.add_argument("--quick", action="store_true", help="few rounds, small sizes")
    length.add_argument("--full", action="store_true", help="also what takes minutes")
    result.add_argument("--format", choices=("table", "json"), default="table")
    result.add_argument("--check", action="store_true", help="exit with 1 if a goal is missed")
    return result


if __name__ == "__main__":
    sys.exit(main())
