"""The pool: order, faults of its own, limits on time, and nothing left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sandbox.pool import Limits, SandboxPool, SandboxUnavailable
from sandbox.suite import compile_suite
from sandbox.verdict import TestResult, verdict_of

ROOT = Path(__file__).parents[1]
SUITE = compile_suite(["assert f(2) == 4"])
RIGHT = "def f(x): return x * x"


@pytest.fixture(scope="module")
def pool():
    with SandboxPool(2, Limits(test_timeout_s=0.5, wall_factor=2.0)) as pool:
        yield pool


def worker_pids(pool: SandboxPool) -> list[int]:
    return [worker.popen.pid for workers in pool.manager.workers.values() for worker in workers]


def test_workers_stand_outside_the_terminals_process_group():
    """A Ctrl-C goes to that group; the step that it lets end still needs them."""
    with SandboxPool(num_workers=1) as pool:
        assert wait_for(lambda: worker_pids(pool))
        assert all(os.getpgid(pid) != os.getpgid(0) for pid in worker_pids(pool))


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
    except OSError:
        return True


def wait_for(condition, seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def test_verdicts_come_in_order(pool):
    programs = [
        (f"import time\ntime.sleep({0.02 * (n % 3)})\ndef f(x): return {n}", compile_suite([f"assert f(0) == {n - n % 2}"]))
        for n in range(20)
    ]
    assert [verdict.status for verdict in pool.grade(programs)] == ["passed", "failed"] * 10


def test_submission_does_not_wait(pool):
    start = time.monotonic()
    future = pool.submit("import time\ndef f(x):\n    time.sleep(0.3)\n    return 4", SUITE)
    assert time.monotonic() - start < 0.2
    assert future.result(10).all_passed


def test_threads_may_share_a_pool(pool):
    verdicts = []
    threads = [threading.Thread(target=lambda: verdicts.extend(pool.grade([(RIGHT, SUITE)] * 10))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(verdicts) == 40 and all(verdict.all_passed for verdict in verdicts)


def test_statuses_of_a_program_follow_its_tests():
    def result(status):
        return TestResult(status, "", 0.0, 0.0, False)

    assert verdict_of((result("passed"), result("timeout"), result("failed"))).status == "timeout"
    assert verdict_of((result("passed"), result("timeout"))).passed == 1
    assert verdict_of(()).status != "passed"


def test_a_program_without_tests_does_not_pass(pool):
    verdict = pool.submit(RIGHT, compile_suite([])).result(10)
    assert not verdict.all_passed and verdict.total == 0


def test_stop_at_first_failure_reports_the_rest_as_not_run(pool):
    suite = compile_suite(["assert f(2) == 4", "assert f(2) == 5", "assert f(3) == 9"])
    verdict = pool.submit(RIGHT, suite, stop_at_first_failure=True).result(10)
    assert (verdict.status, verdict.passed, verdict.total) == ("failed", 1, 3)
    assert pool.submit(RIGHT, suite).result(10).passed == 2


def test_a_dead_worker_is_replaced_and_its_program_tried_again():
    with SandboxPool(1) as pool:
        future = pool.submit("import time\ndef f(x):\n    time.sleep(0.5)\n    return 4", SUITE)
        time.sleep(0.2)
        os.kill(worker_pids(pool)[0], signal.SIGKILL)
        assert future.result(20).all_passed
        assert pool.submit(RIGHT, SUITE).result(20).all_passed


def test_a_program_that_fails_with_two_workers_is_an_infra_error():
    with SandboxPool(1) as pool:
        future = pool.submit("import time\ndef f(x):\n    time.sleep(1)\n    return 4", SUITE)
        for _ in range(2):
            assert wait_for(lambda: worker_pids(pool) and pool.manager.workers[next(iter(pool.manager.workers))][0].jobs)
            pid = worker_pids(pool)[0]
            os.kill(pid, signal.SIGKILL)
            assert wait_for(lambda pid=pid: pid not in worker_pids(pool))
        verdict = future.result(20)
        assert verdict.is_infra_error and verdict.passed == 0 and not verdict.all_passed
        assert pool.submit(RIGHT, SUITE).result(20).all_passed


def test_a_silent_worker_is_replaced(monkeypatch):
    monkeypatch.setattr("sandbox.manager.GRACE_S", 0.3)
    with SandboxPool(1, Limits(test_timeout_s=0.2, program_timeout_s=0.3, wall_factor=2.0)) as pool:
        os.kill(worker_pids(pool)[0], signal.SIGSTOP)
        # with namespaces the stopped process only waits for the worker, so stop that one too
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                if int(path.read_text().rsplit(")", 1)[1].split()[1]) == worker_pids(pool)[0]:
                    os.kill(int(path.parent.name), signal.SIGSTOP)
            except OSError:
                pass
        assert pool.submit(RIGHT, SUITE).result(20).all_passed


def test_workers_are_recycled():
    with SandboxPool(1, Limits(recycle_after=5)) as pool:
        first = worker_pids(pool)
        assert all(verdict.all_passed for verdict in pool.grade([(RIGHT, SUITE)] * 12))
        assert worker_pids(pool) != first


def test_grade_is_bounded_in_time():
    with SandboxPool(1, Limits(test_timeout_s=5.0)) as pool:
        start = time.monotonic()
        verdicts = pool.grade([("import time\ndef f(x): time.sleep(60)", SUITE)] * 3, timeout_s=0.5)
        assert time.monotonic() - start < 3 and all(verdict.is_infra_error for verdict in verdicts)


def test_close_ends_everything_and_pending_programs():
    pool = SandboxPool(2)
    future = pool.submit("import time\ndef f(x): time.sleep(60)", SUITE)
    time.sleep(0.2)
    pids = worker_pids(pool)
    pool.close()
    pool.close()
    assert future.result(0).is_infra_error
    assert all(has_ended(pid) for pid in pids)
    with pytest.raises(RuntimeError):
        pool.submit(RIGHT, SUITE)


def test_two_pools_do_not_disturb_each_other(pool):
    with SandboxPool(1) as other:
        assert other.submit(RIGHT, SUITE).result(20).all_passed
    assert pool.submit(RIGHT, SUITE).result(20).all_passed


def test_no_descriptors_are_left():
    def count():
        return len(os.listdir("/proc/self/fd"))

    with SandboxPool(1, Limits(test_timeout_s=0.3)) as pool:
        pool.grade([(RIGHT, SUITE)])
        before = count()
        pool.grade([(RIGHT, SUITE), ("def f(x):\n    while True: pass", SUITE), ("import os\nos._exit(0)", SUITE)] * 3)
        assert count() == before
    after = count()
    for _ in range(3):
        SandboxPool(1).close()
    assert count() <= after


def test_killing_the_trainer_leaves_nothing():
    script = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from sandbox.pool import SandboxPool
from sandbox.suite import compile_suite
pool = SandboxPool(2)
for _ in range(4): pool.submit("def f(x):\\n    while True: pass", compile_suite(["assert f(1) == 1"] * 5))
time.sleep(0.3)
print(*[worker.popen.pid for workers in pool.manager.workers.values() for worker in workers], flush=True)
time.sleep(60)
"""
    trainer = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    pids = [int(pid) for pid in trainer.stdout.readline().split()]
    tree = set(pids)
    for _ in range(3):
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                if int(path.read_text().rsplit(")", 1)[1].split()[1]) in tree:
                    tree.add(int(path.parent.name))
            except OSError:
                pass
    assert len(pids) == 2 and len(tree) > 2
    trainer.kill()
    trainer.wait()
    assert wait_for(lambda: all(has_ended(pid) for pid in tree))
    trainer.stdout.close()


def test_numpy_programs_have_workers_of_their_own(pool):
    pytest.importorskip("numpy")
    suite = compile_suite(["assert f(3) == 3", "assert total([1, 2]) == 3"])
    code = "import numpy as np\ndef f(x): return np.int64(x)\ndef total(v): return np.array(v).sum()"
    assert pool.submit(code, suite).result(60).all_passed
    assert not any(group.modules for group, workers in pool.manager.workers.items() if workers and group.is_lean)


def test_modules_of_the_standard_library_can_be_imported(pool):
    names = [
        "asyncio",
        "calendar",
        "colorsys",
        "csv",
        "ctypes",
        "difflib",
        "hashlib",
        "html",
        "logging",
        "queue",
        "secrets",
        "sqlite3",
        "threading",
        "uuid",
        "xml.etree.ElementTree",
        "zlib",
    ]
    code = "".join(f"import {name}\n" for name in names) + "def f(x): return x + x"
    verdict = pool.submit(code, SUITE).result(60)
    assert verdict.all_passed, verdict


def test_asyncio_runs(pool):
    code = (
        "import asyncio\nasync def g(x):\n    await asyncio.sleep(0.01)\n    return x * x\ndef f(x): return asyncio.run(g(x))"
    )
    verdict = pool.submit(code, SUITE).result(60)
    assert verdict.all_passed, verdict


def test_dataclasses_and_enums_work(pool):
    code = """
from dataclasses import dataclass
from enum import IntEnum
class N(IntEnum):
    FOUR = 4
@dataclass
class A:
    v: 'int'
def f(x): return N(A(x).v * 2)
"""
    assert pool.submit(code, SUITE).result(60).all_passed


def test_cpu_and_wall_times_are_measured(pool):
    verdict = pool.submit("import time\ndef f(x):\n    time.sleep(0.2)\n    return 4", SUITE).result(10)
    assert verdict.tests[0].wall_s > 0.2 > verdict.tests[0].cpu_s


def test_a_sleeper_times_out_on_the_wall_and_a_loop_on_the_cpu(pool):
    sleeper = pool.submit("import time\ndef f(x): time.sleep(9)", SUITE).result(20).tests[0]
    looper = pool.submit("def f(x):\n    while True: pass", SUITE).result(20).tests[0]
    assert (sleeper.status, looper.status) == ("timeout", "timeout")
    assert sleeper.cpu_s < 0.1 and sleeper.wall_s >= 1.0 and 0.4 < looper.cpu_s < 1.0


def test_a_program_has_a_budget_for_all_its_tests():
    with SandboxPool(1, Limits(test_timeout_s=0.4, program_timeout_s=1.0)) as pool:
        verdict = pool.submit("def f(x):\n    while True: pass", compile_suite(["assert f(1) == 1"] * 20)).result(30)
        assert {test.status for test in verdict.tests} == {"timeout"} and sum(test.cpu_s for test in verdict.tests) < 2.0


def test_without_seccomp_it_refuses():
    with pytest.raises(SandboxUnavailable, match="seccomp"):
        SandboxPool(1, disabled_layers=("seccomp",))


def test_without_seccomp_nothing_is_left_running_when_that_was_allowed():
    code = """
import os, time
def f(x):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0: time.sleep(60)
        os._exit(0)
    return 4
"""
    with SandboxPool(1, allow_unsafe=True, disabled_layers=("seccomp",)) as pool:

        def count():
            return len([path for path in Path("/proc").glob("[0-9]*") if b"sandbox.worker" in _cmdline(path)])

        pool.submit(RIGHT, SUITE).result(20)
        before = count()
        pool.submit(code, SUITE).result(20)
        assert wait_for(lambda: count() <= before)
        assert pool.submit(RIGHT, SUITE).result(20).all_passed


def _cmdline(path: Path) -> bytes:
    try:
        return (path / "cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize("name", ["test_timeout_s", "memory_mb", "wall_factor"])
def test_limits_have_to_be_positive(name):
    with pytest.raises(ValueError, match=name):
        Limits(**{name: 0})


def test_the_report_is_one_line(pool):
    assert "seccomp ok" in pool.layer_report() and "\n" not in pool.layer_report()
