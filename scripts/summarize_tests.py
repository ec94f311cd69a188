"""Prints `N passed, N failed, N skipped` for a JUnit file of ctest.

Usage: summarize_tests.py FILE. Exit status 1 when a test failed or none passed.
"""

import sys
import xml.etree.ElementTree


def outcome(case) -> str:
    if case.get("status") == "run":
        return "passed"
    skipped = case.find("skipped")
    # A test whose program is missing is "notrun" as well: that is no skip.
    if skipped is not None and "SKIP_" in skipped.get("message", ""):
        return "skipped"
    return "failed"


def main(path: str) -> int:
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    try:
        cases = list(xml.etree.ElementTree.parse(path).getroot().iter("testcase"))
    except (OSError, xml.etree.ElementTree.ParseError) as error:
        print(f"no test results: {error}")
        cases = []
    for case in cases:
        result = outcome(case)
        counts[result] += 1
        if result != "passed":
            print(f"{result}: {case.get('name')}")
    print(", ".join(f"{number} {name}" for name, number in counts.items()))
    return 0 if counts["passed"] > 0 and counts["failed"] == 0 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
