"""A worker: a fresh interpreter that is hardened once and then forks a server for each job, which forks a child for a program.

It reads jobs from a socket, and answers each with the frames that the child wrote, unread, and the times that it measured
itself on the child's own CPU clock. It never has an expected value. Started as `python -c "..." CONFIG`; see `sandbox.spawn`.
"""

import builtins
import contextlib
import gc
import json
import os
import resource
import select
import signal
import sys
import time

from sandbox import kernel
from sandbox.child import ERROR, LOADED, NONCE_BYTES, Runner
from sandbox.frames import FrameBuffer, pack, read_frame, write_all
from sandbox.layers import MAX_FILES, Layers, harden, new_namespaces
from sandbox.preload import load_everything
from sandbox.probe import attack_from_inside
from sandbox.seccomp import Filter, build_filter
from sandbox.sweep import sweeper

CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP}
POLL_S = 0.25
EXIT_GRACE_S = 0.1
PROGRAM_OUTPUTS = 8  # what all tests of a program may send together, in outputs of one
LAST_BYTE = b"."
leave = os._exit  # a program may put another function in its place


class ParentGone(Exception):
    """The trainer is gone: leave."""


class Child:
    """One fork: its pipe, its clock and its end."""

    def __init__(self, job: dict, first: int, worker: "Worker"):
        read_end, write_end = os.pipe()
        self.started = time.monotonic()
        self.pid = kernel.fork()
        if self.pid == 0:
            worker.become_child(job, first, read_end, write_end)
        os.close(write_end)
        self.fd = read_end
        self.clock = (~self.pid << 3) | 2  # the CPU clock of another process, by its id
        self.frames = FrameBuffer(job["max_output_bytes"])
        self.last_cpu_s = 0.0
        self.ended = False
        self.status = 0

    def cpu_s(self) -> float:
        with contextlib.suppress(OSError):  # a child that was reaped has no clock any more
            self.last_cpu_s = time.clock_gettime(self.clock)
        return self.last_cpu_s

    def wait_for_exit(self) -> None:
        """After the end of its stream: let it die its own death, for a moment, so that the cause can be told."""
        deadline = time.monotonic() + EXIT_GRACE_S
        while not self.ended and time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.ended, self.status = True, status
            else:
                time.sleep(0.001)

    def end(self) -> None:
        """Kill and reap: nothing of the child is left. With the filter a child cannot fork, so there is nobody else; without,
        the worker sweeps after the job.
        """
        if self.fd < 0:
            return
        os.close(self.fd)
        self.fd = -1
        if not self.ended:
            os.kill(self.pid, signal.SIGKILL)
            self.status = os.waitpid(self.pid, 0)[1]
            self.ended = True


class Worker:
    """The loop around one socket to the trainer."""

    def __init__(self, fd: int, layers: Layers):
        self.fd = fd
        self.layers = layers
        self.filter: Filter | None = None
        self.sweep = None

    def become_child(self, job: dict, first: int, read_end: int, write_end: int) -> None:
        """Never returns: shuts the last doors, runs the program, and leaves without any clean-up."""
        try:
            os.close(read_end)
            os.close(self.fd)
            kernel.libc.prctl(kernel.PR_SET_PDEATHSIG, 9, 0, 0, 0)
            if "limits" not in self.layers.disabled:
                resource.setrlimit(resource.RLIMIT_CPU, (job["cpu_limit_s"], job["cpu_limit_s"] + 1))
            if self.filter is not None:
                self.filter.install(os.getpid())
            gc.enable()  # what is frozen stays shared; a program's own cycles would fill its memory
            runner = Runner(write_end, job["nonce_fd"], job["max_output_bytes"])
            suite = job.pop("suite")
            if suite["is_script"]:
                if runner.load_script(job.pop("code"), suite["setup"]):
                    runner.run_test(suite["tests"][first])
            elif runner.load(job.pop("code"), suite["setup"], suite["setup_first"]):
                for ops in suite["tests"][first:]:
                    runner.run_test(ops)
        finally:
            leave(0)

    def serve(self) -> None:
        """Job after job, each in a process of its own: whatever a job leaves in memory, a variable or a freed string, would be
        in every child after it for its program to find. An answer ends with a byte of ours, when its server is gone.
        """
        while True:
            select.select([self.fd], [], [])
            pid = kernel.fork()
            if pid == 0:
                self.become_server()
            status = os.waitpid(pid, 0)[1]
            if self.sweep is not None:
                self.sweep()
            if status != 0:
                return
            write_all(self.fd, LAST_BYTE)

    def become_server(self) -> None:
        """Never returns: serves one job. Leaves with a status other than 0 when the trainer is gone."""
        status = 1
        try:
            kernel.prctl(kernel.PR_SET_PDEATHSIG, 9)
            job = self.read_job()
            if job is not None:
                try:
                    header, bodies = self.grade(job)
                except (OSError, MemoryError) as error:  # a fork or a pipe that the machine refused
                    header, bodies = {"infra": f"{type(error).__name__}: {error}"}, []
                head = json.dumps(header).encode()
                answer = pack(pack(head) + b"".join(bodies) + LAST_BYTE)
                write_all(self.fd, answer[: -len(LAST_BYTE)])
                status = 0
        except ParentGone:
            pass
        finally:
            leave(status)

    def read_job(self) -> dict | None:
        """The next job, or None when the trainer has closed. Its nonce goes straight into a pipe, once for each inline
        test: what stays here as a variable would be in every child for its program to find.
        """
        body = read_frame(self.fd)
        if body is None:
            return None
        job = json.loads(body[NONCE_BYTES:])
        job["nonce_fd"], write_end = os.pipe()
        os.write(write_end, body[:NONCE_BYTES] * min(job["num_inline"], 1024))
        os.close(write_end)
        return job

    def grade(self, job: dict) -> tuple[dict, list[bytes]]:
        """Outcome, times and frame of every test. Forks again for the rest after a test that took the child with it."""
        job["suite"] = json.loads(job["suite"])
        num_tests, results, bodies = len(job["suite"]["tests"]), [], []
        self.program_cpu_s, self.program_bytes, self.program_start = 0.0, 0, time.monotonic()
        while len(results) < num_tests:
            before = len(results)
            fatal = self.run_child(job, results, bodies)
            if len(results) == before or fatal or (job["stop_at_first"] and results[-1][0] != "frame"):
                break
            allowed_s = job["program_wall_s"] + job["busy_factor"] * self.program_cpu_s
            if self.program_cpu_s >= job["program_timeout_s"] or time.monotonic() - self.program_start >= allowed_s:
                break
        return {"results": results}, bodies

    def run_child(self, job: dict, results: list, bodies: list[bytes]) -> bool:
        """Collect frames from one child until it is through or dies: of all tests that are left, or of the next one where
        the program is a script, which begins anew for each. Appends `[outcome, message, cpu_s, wall_s, length]`; true where
        no test can run.
        """
        child = Child(job, len(results), self)
        num_tests, loaded = len(results) + 1 if job["suite"]["is_script"] else len(job["suite"]["tests"]), False
        cpu_mark, wall_mark = 0.0, child.started
        try:
            while len(results) < num_tests:
                outcome, frames = self.wait(child, job, cpu_mark, wall_mark)
                cpu, wall = child.cpu_s(), time.monotonic()
                for frame in frames:
                    if not loaded:
                        loaded = True
                        if frame[:1] == LOADED:
                            cpu_mark, wall_mark = (cpu, wall) if cpu - cpu_mark > 0.05 else (cpu_mark, wall_mark)
                            continue
                        results.append(["frame", "", cpu, wall - wall_mark, len(frame)])
                        bodies.append(frame)
                        return frame[:1] == ERROR
                    if len(results) < num_tests:
                        self.program_bytes += len(frame)
                        if self.program_bytes > PROGRAM_OUTPUTS * job["max_output_bytes"]:
                            results.append(["output", "too much output of all tests together", 0.0, 0.0, 0])
                            return True
                        results.append(["frame", "", cpu - cpu_mark, wall - wall_mark, len(frame)])
                        bodies.append(frame)
                        cpu_mark, wall_mark = cpu, wall
                if outcome and len(results) < num_tests:
                    if outcome == "end":
                        child.wait_for_exit()
                    results.append([*self.explain(outcome, child), cpu - cpu_mark, wall - wall_mark, 0])
                    return not loaded
            return False
        finally:
            self.program_cpu_s += child.cpu_s()
            child.end()

    def wait(self, child: Child, job: dict, cpu_mark: float, wall_mark: float) -> tuple[str, list[bytes]]:
        """Frames as they come, or why there will be no more: `timeout`, `output` or `end`."""
        poll = select.poll()
        poll.register(child.fd, select.POLLIN)
        poll.register(self.fd, 0)
        while True:
            cpu, now = child.cpu_s(), time.monotonic()
            cpu_left = min(job["test_timeout_s"] - (cpu - cpu_mark), job["program_timeout_s"] - self.program_cpu_s - cpu)
            wall_left = job["test_wall_s"] + job["busy_factor"] * (cpu - cpu_mark) - (now - wall_mark)
            used_cpu_s = self.program_cpu_s + cpu
            program_left = job["program_wall_s"] + job["busy_factor"] * used_cpu_s - (now - self.program_start)
            wall_left = min(wall_left, program_left)
            if cpu_left <= 0 or wall_left <= 0:
                return "timeout", []
            events = poll.poll(1000 * max(0.001, min(cpu_left, wall_left, POLL_S)))
            for fd, event in events:
                if fd == self.fd and event & (select.POLLHUP | select.POLLERR):
                    raise ParentGone
                if fd != child.fd:
                    continue
                chunk = os.read(child.fd, 1 << 16)
                if not chunk:
                    return "end", []
                try:
                    frames = child.frames.feed(chunk)
                except ValueError:
                    return "output", []
                if frames:
                    return "", frames

    def explain(self, outcome: str, child: Child) -> tuple[str, str]:
        """Verdict and message for a child that sent no frame for the test it was at."""
        if outcome == "timeout":
            return "timeout", "the CPU or wall limit was reached"
        if outcome == "output":
            return "output", "too much output"
        if not child.ended:
            return "exited", "the process closed its channel"
        if not os.WIFSIGNALED(child.status):
            return "exited", f"the process left with status {os.WEXITSTATUS(child.status)}"
        number = os.WTERMSIG(child.status)
        if number == signal.SIGSYS:
            return "blocked", "killed by the system call filter"
        if number == signal.SIGXCPU:
            return "timeout", "the CPU limit was reached"
        return "crashed" if number in CRASHES else "killed", f"signal {number}"


def main() -> None:
    config = json.loads(sys.argv[1])
    layers = Layers(tuple(config["disabled"]))
    kernel.prctl(kernel.PR_SET_PDEATHSIG, 9)
    layers.put("namespaces", new_namespaces)
    if layers.report["namespaces"] == "ok":
        pid = os.fork()  # the first process of the new namespace; this one only waits for it
        if pid:
            os.close(config["fd"])
            os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) & 0xFF)
    missing = load_everything(config["is_lean"], tuple(config["modules"]), config["paths"])
    worker = Worker(config["fd"], layers)
    os.environ.clear()
    time.tzset()
    harden(layers, config["memory_bytes"])
    worker.filter = layers.put("seccomp", lambda: Filter(build_filter()))
    if worker.filter is not None:
        layers.put("seccomp", attack_from_inside, worker.filter)
        worker.filter = worker.filter if layers.is_seccomp_ok else None
    refused = not layers.is_seccomp_ok and not config["allow_unsafe"]
    hello = {"report": layers.report, "missing": missing, "refused": refused}
    write_all(worker.fd, pack(json.dumps(hello).encode()))
    if refused:
        return
    if worker.filter is None:
        worker.sweep = sweeper(layers)
    os.closerange(3, worker.fd)  # such as that of a mapped file, whose offset all children would share
    os.closerange(worker.fd + 1, MAX_FILES)
    sys.argv[:] = ["solution.py"]
    builtins.exit = builtins.quit = sys.exit  # the `site` module, which was not imported, would have defined them
    gc.collect()
    gc.freeze()
    gc.disable()
    worker.serve()
    os._exit(0)
