"""The hostile and tricky cases, as this user, as an unprivileged one, with dropped capabilities, and with the filter and the
limits alone.

After each case a sane program has to pass on the same pool, and no process may be left but the workers.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.pool import Limits, SandboxPool
from sandbox.suite import compile_suite

ROOT = Path(__file__).parents[1]
CASES = json.loads((Path(__file__).parent / "sandbox_cases.json").read_text())
SANE = compile_suite(["assert ok(2) == 4"])
SECRET = "SBX_TEST_SECRET_KEY"

DRIVER = """
import json, sys
sys.path.insert(0, sys.argv[1])
from sandbox.pool import Limits, SandboxPool
from sandbox.suite import compile_suite
cases = json.load(sys.stdin)
with SandboxPool(1, Limits(test_timeout_s=0.5, wall_factor=2.0), disabled_layers=tuple(sys.argv[2:])) as pool:
    print(pool.layer_report(), file=sys.stderr)
    sane = compile_suite(["assert ok(2) == 4"])
    statuses = []
    for case in cases:
        status = pool.submit(case["code"], compile_suite(case["tests"]), True).result().status
        passed = pool.submit("def ok(x): return x * x", sane).result().all_passed
        statuses.append(status if passed else "the next program failed")
    print(json.dumps(statuses))
"""


def descendants() -> list[str]:
    """Command lines of the living processes below this one, zombies left out."""
    parents, names = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                names[int(entry.name)] = (entry / "cmdline").read_bytes()[:80].decode(errors="replace")
            except OSError:
                continue
            if fields[0] not in "ZX":
                parents[int(entry.name)] = int(fields[1])

    def is_below(pid: int) -> bool:
        while pid in parents:
            pid = parents[pid]
            if pid == os.getpid():
                return True
        return False

    return [
        names[pid]
        for pid in parents
        if is_below(pid) and b"sandbox" in (Path(f"/proc/{pid}/cmdline").read_bytes() if Path(f"/proc/{pid}").exists() else b"")
    ]


@pytest.fixture(scope="module")
def pool():
    os.environ[SECRET] = "secret"
    with SandboxPool(1, Limits(test_timeout_s=1.0, wall_factor=2.0)) as pool:
        warm_up = ["assert ok(1) == 1"]
        for code in ("def ok(x): return x", "import threading\ndef ok(x): return x"):
            assert pool.submit(code, compile_suite(warm_up)).result(60).all_passed
        yield pool
    del os.environ[SECRET]


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_public_case(pool, case):
    before = len(descendants())
    suite = compile_suite(
        case["tests"], "", [note.split(":")[1] for note in case["notes"].split() if note.startswith("ref_defines:")]
    )
    verdict = pool.submit(case["code"], suite, case["name"] != "slow_second_test_only").result(60)
    assert verdict.status in case["expected"].split("|"), verdict
    if case["name"] == "slow_second_test_only":
        assert [test.status for test in verdict.tests] == ["passed", "timeout", "passed"]
    assert pool.submit("def ok(x): return x * x", SANE).result(60).all_passed
    assert len(descendants()) == before > 0
    assert not Path("/tmp/sbx_canary_public_write").exists()


def other_interpreter(prefix: list[str]) -> str | None:
    """An interpreter that starts under another user: one below root's home does not."""
    for python in (sys.executable, "/usr/bin/python3"):
        checks = "sys.version_info >= (3, 10) and os.access(sys.executable, os.X_OK) and os.access(%r, os.R_OK)"
        probe = f"import os, sys; sys.exit(not ({checks}))"
        command = [*prefix, python, "-c", probe % str(ROOT / "sandbox" / "pool.py")]
        if os.path.exists(python) and subprocess.run(command, capture_output=True).returncode == 0:
            return python
    return None


def run_cases(prefix: list[str], disabled: list[str]) -> str:
    python = other_interpreter(prefix)
    if python is None:
        pytest.skip("no interpreter that this user may start")
    command = [*prefix, python, "-c", DRIVER, str(ROOT), *disabled]
    done = subprocess.run(
        command, input=json.dumps(CASES), capture_output=True, text=True, timeout=240, env={**os.environ, SECRET: "secret"}
    )
    assert done.returncode == 0, done.stderr
    wrong = {
        case["name"]: status
        for case, status in zip(CASES, json.loads(done.stdout))
        if status not in case["expected"].split("|")
    }
    assert not wrong
    return done.stderr


needs_setpriv = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="changing the user needs root and setpriv"
)
UNPRIVILEGED = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]


@needs_setpriv
def test_public_cases_unprivileged():
    assert "seccomp ok" in run_cases(UNPRIVILEGED, [])


@needs_setpriv
def test_public_cases_with_the_filter_and_the_limits_alone():
    """What an unprivileged user has in a container that allows no namespaces, on a kernel without Landlock."""
    report = run_cases(UNPRIVILEGED, ["namespaces", "landlock"])
    assert "namespaces off" in report and "empty_root missing" in report and "unused_user missing" in report


@needs_setpriv
def test_public_cases_with_dropped_capabilities():
    """Root in a container: user id 0 without capabilities and without namespaces."""
    report = run_cases(["setpriv", "--bounding-set", "-all", "--inh-caps", "-all", "--no-new-privs"], ["namespaces"])
    assert "unused_user missing" in report and "empty_root missing" in report
