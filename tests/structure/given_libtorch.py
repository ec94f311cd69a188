"""Configures the project with a LibTorch that the user names, laid out as its zip file is.

Usage: given_libtorch.py BUILD_FOLDER LIBTORCH. The folder named is made of links into LIBTORCH, the
one that this build uses. It must be taken, and the wheel in .venv must not, whichever way it is
named.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from support import ROOT


def configure(build: str, options: list, variables: dict) -> str:
    """The output of CMake and the build file; ends the test when CMake fails."""
    shutil.rmtree(build, ignore_errors=True)
    environment = {k: v for k, v in os.environ.items()
                   if k not in ("Torch_DIR", "CMAKE_PREFIX_PATH")}
    result = subprocess.run(["cmake", "-S", str(ROOT), "-B", build, "-G", "Ninja", *options],
                            capture_output=True, text=True, env={**environment, **variables})
    if result.returncode != 0:
        sys.exit(f"FAILED: {options} {variables}\n{result.stdout}{result.stderr}")
    return result.stdout + (pathlib.Path(build) / "build.ninja").read_text()


def main(build: str, libtorch: str) -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name).resolve() / "libtorch"
        folder.mkdir()
        for part in ("include", "lib", "share"):
            (folder / part).symlink_to(pathlib.Path(libtorch) / part)
        package = str(folder / "share" / "cmake" / "Torch")
        ways = [([f"-DCMAKE_PREFIX_PATH={folder}"], {}), ([f"-DTorch_DIR={package}"], {}),
                ([], {"CMAKE_PREFIX_PATH": str(folder)}), ([], {"Torch_DIR": package})]
        for options, variables in ways:
            text = configure(build, options, variables)
            if f" in {folder}," not in text:
                sys.exit(f"FAILED: {options} {variables}: another LibTorch was taken")
            wheel = f"{libtorch}/"
            if wheel in text:
                line = next(line for line in text.splitlines() if wheel in line)
                sys.exit(f"FAILED: {options} {variables}: {wheel} is used in\n{line[:400]}")
    shutil.rmtree(build, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
