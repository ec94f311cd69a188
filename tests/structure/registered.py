"""Every test file is named in the CMakeLists.txt of its folder, and every such folder is part of the
build: a test that nobody runs is none."""

import sys

from support import ROOT

TESTS = ROOT / "tests"
PATTERNS = ("*_test.cpp", "*_test.py", "*_parity.py")


def unregistered():
    whole = (TESTS / "CMakeLists.txt").read_text()
    for listing in sorted(TESTS.rglob("CMakeLists.txt")):
        folder = listing.parent.relative_to(TESTS).as_posix()
        # A consumer is a project of its own.
        if folder not in (".", "package/consumer") and f"add_subdirectory({folder})" not in whole:
            yield f"tests/{folder} is not in tests/CMakeLists.txt"
    for pattern in PATTERNS:
        for file in sorted(TESTS.rglob(pattern)):
            listing = file.parent / "CMakeLists.txt"
            if not listing.exists() or file.name not in listing.read_text():
                yield f"{file.relative_to(ROOT)} is in no CMakeLists.txt"


def main():
    found = list(unregistered())
    print(*found or ["all tests are registered"], sep="\n")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
