"""The golden values of the optimizer, scheduler and loss scaler tests are what PyTorch and
transformers say today."""

import pathlib
import subprocess
import sys

from support import ROOT, skip

try:
    import torch  # noqa: F401
    import transformers  # noqa: F401
except ImportError as error:
    skip(f"{error}")

SCRIPT: pathlib.Path = ROOT / "tests/golden/optim/make_goldens.py"
sys.exit(subprocess.run([sys.executable, str(SCRIPT), "--check"]).returncode)
