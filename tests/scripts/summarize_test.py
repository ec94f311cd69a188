"""The last line of scripts/test.sh counts test cases, and loses no failure."""

import subprocess
import sys

import pytest
from support import ROOT

PASSED = '<testcase name="{}" status="run"/>'
FAILED = '<testcase name="{}" status="fail"><failure message="Failed"/></testcase>'
SKIPPED = '<testcase name="{}" status="notrun"><skipped message="SKIP_RETURN_CODE=77"/></testcase>'
NOT_BUILT = '<testcase name="{}" status="notrun"><skipped message="Unable to find it"/></testcase>'

CASE = '<testcase name="one"/>'
FAILED_CASE = '<testcase name="two"><failure message="1 == 2&#10;more"/></testcase>'
SKIPPED_CASE = '<testcase name="three"><skipped message="no GPU"/></testcase>'


@pytest.mark.parametrize("entry, cases, lines", [
    (PASSED, [CASE, CASE, SKIPPED_CASE], ["skipped: x: three: no GPU",
                                          "2 passed, 0 failed, 1 skipped"]),
    (FAILED, [CASE, FAILED_CASE], ["failed: x: two: 1 == 2", "1 passed, 1 failed, 0 skipped"]),
    (FAILED, [CASE], ["failed: x", "1 passed, 1 failed, 0 skipped"]),
    (FAILED, None, ["failed: x", "0 passed, 1 failed, 0 skipped"]),
    (SKIPPED, [SKIPPED_CASE], ["skipped: x: three: no GPU", "0 passed, 0 failed, 1 skipped"]),
    (SKIPPED, None, ["skipped: x", "0 passed, 0 failed, 1 skipped"]),
    (NOT_BUILT, None, ["failed: x", "0 passed, 1 failed, 0 skipped"]),
    (PASSED, None, ["1 passed, 0 failed, 0 skipped"]),
], ids=range(8))
def test_summary(entry, cases, lines, tmp_path):
    (tmp_path / "ctest.xml").write_text(f"<testsuite>{entry.format('x')}</testsuite>")
    if cases is not None:
        (tmp_path / "x.xml").write_text(
            f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>")
    done = subprocess.run([sys.executable, ROOT / "scripts/summarize_tests.py",
                           tmp_path / "ctest.xml", tmp_path], capture_output=True, text=True)
    assert done.stdout.splitlines() == lines
    assert done.returncode == (0 if " 0 failed" in lines[-1] and lines[-1][0] != "0" else 1)
