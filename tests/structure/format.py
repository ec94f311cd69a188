"""Checks that all C++ files are formatted as .clang-format says.

Usage: format.py [FOLDER]. Without FOLDER also checks that a badly formatted file is found.
"""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from support import ROOT, skip

FOLDERS = ["lightning", "examples", "tests", "benchmarks", "cmake"]
# Debian 12's; other versions break some lines differently.
VERSION = "14"


def misformatted(files: list) -> list:
    if not files:
        return []
    command = ["clang-format", "--dry-run", f"--style=file:{ROOT}/.clang-format", *map(str, files)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    return sorted(set(re.findall(r"^(\S+?):\d+:\d+: warning: code should be", output, re.MULTILINE)))


def check_itself() -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "bad.cpp"
        file.write_text("int  main( ){return 0;}\n", encoding="utf-8")
        if misformatted([file]) != [str(file)]:
            sys.exit("self-check: a badly formatted file was not found")


def main() -> int:
    if not shutil.which("clang-format"):
        skip("clang-format is not installed (scripts/bootstrap.sh --test installs it)")
    version = subprocess.run(["clang-format", "--version"], capture_output=True, text=True).stdout
    if f"version {VERSION}." not in version:
        skip(f"this test knows clang-format {VERSION}, here is {version.strip()}")
    check_itself()
    files = [f for folder in FOLDERS for f in sorted((ROOT / folder).rglob("*"))
             if f.suffix in (".h", ".cpp")]
    bad = misformatted(files)
    for file in bad:
        print(f"{file} is not formatted. HINT: clang-format -i {file}")
    print(f"{len(files)} files, {len(bad)} not formatted")
    return 1 if bad or not files else 0


if __name__ == "__main__":
    sys.exit(main())
