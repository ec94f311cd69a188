"""Counts test cases: prints what failed and was skipped, then `N passed, N failed, N skipped`.

Usage: summarize_tests.py CTEST_FILE FOLDER

CTEST_FILE is ctest's JUnit file; FOLDER has one of each entry's program, ENTRY.xml, with its test
cases. An entry without one counts as a test case. Exit status 1 when a test case failed or none
passed.
"""

import pathlib
import sys
import xml.etree.ElementTree


def read(path):
    return list(xml.etree.ElementTree.parse(path).getroot().iter("testcase"))


def entry_outcome(case) -> str:
    if case.get("status") == "run":
        return "passed"
    skipped = case.find("skipped")
    # A test whose program is missing is "notrun" as well: that is no skip.
    if skipped is not None and "SKIP_" in skipped.get("message", ""):
        return "skipped"
    return "failed"


def case_outcome(case) -> str:
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    return "skipped" if case.find("skipped") is not None else "passed"


def first_line(case) -> str:
    for kind in ("failure", "error", "skipped"):
        found = case.find(kind)
        if found is not None:
            return (found.get("message") or found.text or "").strip().partition("\n")[0]
    return ""


def outcomes(entry, folder):
    """(name, outcome, text) of an entry's test cases."""
    name = entry.get("name")
    outcome = entry_outcome(entry)
    try:
        cases = read(folder / f"{name}.xml")
    except (OSError, xml.etree.ElementTree.ParseError):
        cases = []
    found = [(f"{name}: {case.get('name')}", case_outcome(case), first_line(case))
             for case in cases]
    # It may end before it writes its file, or fail after its last test case.
    if not found or (outcome == "failed" and all(case[1] != "failed" for case in found)):
        found.append((name, outcome, ""))
    return found


def main(ctest_file: str, folder: str) -> int:
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    try:
        entries = read(ctest_file)
    except (OSError, xml.etree.ElementTree.ParseError) as error:
        print(f"no test results: {error}")
        entries = []
    found = [case for entry in entries for case in outcomes(entry, pathlib.Path(folder))]
    for name, outcome, text in sorted(found, key=lambda case: (case[1] == "failed", case[0])):
        counts[outcome] += 1
        if outcome != "passed":
            print(f"{outcome}: {name}{': ' if text else ''}{text}")
    print(", ".join(f"{number} {name}" for name, number in counts.items()))
    return 0 if counts["passed"] > 0 and counts["failed"] == 0 else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
