"""Every test file is named in the CMakeLists.txt of its folder, and every such folder is part of the
build: a test that no build runs is none."""

import pytest
from support import ROOT

TESTS = ROOT / "tests"
PATTERNS = ("*_test.cpp", "*_test.py", "*_parity.py")


def test_folders_are_part_of_the_build():
    whole = (TESTS / "CMakeLists.txt").read_text()
    folders = {file.parent.relative_to(TESTS).as_posix() for file in TESTS.rglob("CMakeLists.txt")}
    # A consumer is a project of its own.
    missing = [folder for folder in sorted(folders - {".", "package/consumer"})
               if f"add_subdirectory({folder})" not in whole]
    assert not missing, f"not in tests/CMakeLists.txt: {missing}"


@pytest.mark.parametrize("pattern", PATTERNS)
def test_files_are_registered(pattern):
    files = sorted(TESTS.rglob(pattern))
    assert files
    missing = []
    for file in files:
        listing = file.parent / "CMakeLists.txt"
        if not listing.exists() or file.name not in listing.read_text():
            missing.append(file.relative_to(ROOT).as_posix())
    assert not missing, f"in no CMakeLists.txt: {missing}"
