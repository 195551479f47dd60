"""Worker processes, started by scripts of all kinds."""

import subprocess
import sys

GUARDLESS = """
import operator
from atlas.run.workers import in_workers
print("from the top")
print(list(in_workers(["cpu", "cpu"], str, operator.add, ["a", "b", "c"])))
"""


def test_a_script_without_a_guard_is_not_run_again_by_its_workers(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(GUARDLESS)
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == "from the top\n['cpua', 'cpub', 'cpuc']\n"
