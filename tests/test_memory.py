"""What a long training keeps."""

import subprocess
import sys

from documents import MODELS, PEAK

TRAINING = f"""{PEAK}
import numpy as np
import graphengine as ge

model = ge.load(sys.argv[1])
x = np.random.default_rng(0).normal(size=10_000)
data = {{"x": x, "y": 3 * x}}
model.train(data=data, epochs=20)  # what is made once is made
before = peak()
history = model.train(data=data, epochs=100)
print(len(history), peak() - before)
"""


def test_a_million_iterations_grow_the_process_by_less_than_a_megabyte():
    command = [sys.executable, "-c", TRAINING, str(MODELS / "linreg_single_sample.json")]
    iterations, grown = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert iterations == 1_000_000
    assert grown < 2**20, f"{grown} bytes"
