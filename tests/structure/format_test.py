"""All C++ files are formatted as .clang-format says."""

import re
import shutil
import subprocess

import pytest
from support import ROOT, skip

FOLDERS = ["lightning", "examples", "tests", "benchmarks", "cmake"]
# Debian 12's; other versions break some lines differently.
VERSION = "14"


@pytest.fixture(scope="module", autouse=True)
def clang_format():
    if not shutil.which("clang-format"):
        skip("clang-format is not installed (scripts/bootstrap.sh --test installs it)")
    version = subprocess.run(["clang-format", "--version"], capture_output=True, text=True).stdout
    if f"version {VERSION}." not in version:
        skip(f"this test knows clang-format {VERSION}, here is {version.strip()}")


def misformatted(files):
    command = ["clang-format", "--dry-run", f"--style=file:{ROOT}/.clang-format", *map(str, files)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    return sorted(set(re.findall(r"^(\S+?):\d+:\d+: warning: code should be", output, re.MULTILINE)))


def test_a_badly_formatted_file_is_found(tmp_path):
    file = tmp_path / "bad.cpp"
    file.write_text("int  main( ){return 0;}\n", encoding="utf-8")
    assert misformatted([file]) == [str(file)]


@pytest.mark.parametrize("folder", FOLDERS)
def test_files_are_formatted(folder):
    files = [f for f in sorted((ROOT / folder).rglob("*")) if f.suffix in (".h", ".cpp")]
    assert files
    assert misformatted(files) == [], "HINT: clang-format -i these files"
