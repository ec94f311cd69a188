"""Configures the project once with the CUDA toolkit hidden.

Usage: no_toolkit.py BUILD_FOLDER TOOLKIT_FOLDER. The toolkit's folder is covered by an empty file
system that only this process sees; without the right to do so the test is skipped.
"""

import os
import pathlib
import shutil
import subprocess
import sys

from support import ROOT, skip


def main(build: str, toolkit: str) -> int:
    if not toolkit:
        skip("there is no CUDA toolkit here, so the ordinary build has shown it already")
    folder = pathlib.Path(toolkit).resolve()
    if folder in (pathlib.Path("/"), pathlib.Path("/usr")):
        skip(f"the CUDA toolkit is a part of {folder}, which can't be hidden")
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode != 0:
        skip("unshare -m is not permitted here")
    shutil.rmtree(build, ignore_errors=True)
    script = 'mount -t tmpfs none "$0" && exec "$@"'
    configure = ["cmake", "-S", str(ROOT), "-B", build, "-G", "Ninja"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CUDA")}
    result = subprocess.run(["unshare", "-m", "sh", "-c", script, str(folder), *configure],
                            capture_output=True, text=True, env=environment)
    output = result.stdout + result.stderr
    shutil.rmtree(build, ignore_errors=True)
    print(output)
    if result.returncode != 0:
        print("FAILED: the project can't be configured without a CUDA toolkit")
        return 1
    if "CUDA toolkit: FALSE" not in output:
        print("FAILED: a CUDA toolkit was found, so this test showed nothing")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
