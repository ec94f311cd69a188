"""What the Python tests share. `from support import ...` works in every test run by ctest."""

import os
import pathlib
import shutil
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
SKIPPED = 77


def required(variable: str) -> bool:
    return os.environ.get(variable, "0") not in ("", "0")


def skip(reason: str, unless: str = "") -> None:
    """Ends the test as skipped; as failed when the variable `unless` is set in the environment."""
    if unless and required(unless):
        sys.exit(f"FAILED: {unless}=1, but {reason}")
    print(f"SKIPPED: {reason}", flush=True)
    sys.exit(SKIPPED)


def bin_dir() -> pathlib.Path:
    """The folder of the built programs."""
    return pathlib.Path(os.environ.get("LIGHTNING_BIN_DIR", ROOT / "build/release/bin"))


def data_dir() -> pathlib.Path:
    """Data that isn't part of the repository; skips the test when there is none."""
    folder = pathlib.Path(os.environ.get("LIGHTNING_TEST_DATA", ROOT.parent / "shared/data"))
    if not folder.is_dir():
        skip(f"no test data in {folder}", unless="LIGHTNING_REQUIRE_DATA")
    return folder


def mpirun() -> str:
    """Open MPI's launcher; skips the test when there is none."""
    found = shutil.which("mpirun")
    if found is None:
        skip("no mpirun (Debian: openmpi-bin)", unless="LIGHTNING_REQUIRE_MPIRUN")
    return found
