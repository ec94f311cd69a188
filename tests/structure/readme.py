"""The program in README.md is examples/sample_li/sample_li.cpp, to the letter."""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

program = (ROOT / "examples/sample_li/sample_li.cpp").read_text()
readme = (ROOT / "README.md").read_text()
block = readme.split("```cpp\n", 1)[1].split("```", 1)[0]
if block != program:
    sys.exit("README.md's program differs from examples/sample_li/sample_li.cpp. HINT: copy it.")
