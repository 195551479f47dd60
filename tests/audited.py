"""Ask pip-audit for known vulnerabilities of locked packages; where its database is out of reach, say so in a line.

usage: python tests/audited.py PIP_AUDIT requirements.lock (make vulnerabilities)

Ends with 1 if there are any, with 0 if there are none or none could be asked for.
"""

from __future__ import annotations

import json
import subprocess
import sys


def say(answer: str, complaint: str) -> tuple[str, int]:
    """Return what to print of pip-audit's answer, and the exit status.

    Args:
        answer: What it printed, JSON if all went well.
        complaint: What it printed to stderr.
    """
    try:
        found = json.loads(answer)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = (complaint.strip().splitlines() or ["no answer"])[-1]
        return (
            f"vulnerabilities: the database can't be reached ({last[:200]}); nothing was checked",
            0,
        )
    unknown = [one["name"] for one in found if "skip_reason" in one]
    bad = [one for one in found if one.get("vulns")]
    if len(unknown) == len(found):
        return "vulnerabilities: the database knows none of the packages; nothing was checked", 0
    lines = [
        f"{one['name']} {one['version']}: {', '.join(v['id'] for v in one['vulns'])}; mended in "
        f"{', '.join(sorted({fix for v in one['vulns'] for fix in v['fix_versions']})) or 'no version'}"
        for one in bad
    ]
    lines.append(
        f"vulnerabilities: {len(bad)} of {len(found) - len(unknown)} packages; {len(unknown)} are not known"
    )
    return "\n".join(lines), int(bool(bad))


if __name__ == "__main__":
    command = [
        sys.argv[1],
        "--requirement",
        sys.argv[2],
        "--no-deps",
        "--disable-pip",
        "--require-hashes",
    ]
    command += ["--format", "json", "--progress-spinner", "off"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    text, status = say(done.stdout, done.stderr)
    print(text)
    sys.exit(status)
