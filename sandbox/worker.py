"""A worker: a fresh interpreter that is hardened once and then forks a child for each program.

It reads jobs from a socket, and answers each with the frames that the child wrote, unread, and the times that it measured
itself on the child's own CPU clock. It never has an expected value, and a program's text and values only in memory that is
unmapped after the job. Started as `python -c "..." CONFIG`; see `sandbox.spawn`.
"""

import contextlib
import gc
import json
import os
import resource
import select
import signal
import sys
import time

from sandbox import kernel, stand_ins
from sandbox.child import ERROR, LOADED, NONCE_BYTES, Runner
from sandbox.frames import HEADER, pack, read_exactly, write_all
from sandbox.job_memory import Frame, Output, private_memory, read_into
from sandbox.layers import MAX_FILES, Layers, harden, new_namespaces
from sandbox.preload import load_everything
from sandbox.probe import attack_from_inside
from sandbox.seccomp import Filter, build_filter
from sandbox.sweep import sweeper

CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP}
POLL_S = 0.25
EXIT_GRACE_S = 0.1
PROGRAM_OUTPUTS = 8  # what all tests of a program may send together, in outputs of one
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
        self.last_cpu_s = 0.0
        self.ended = False
        self.status = 0
        self.sweep = worker.sweep

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
        """Kill and reap: nothing of the child is left. With the filter a child cannot fork, so there is nobody else;
        without, sweep.
        """
        if self.fd < 0:
            return
        os.close(self.fd)
        self.fd = -1
        if not self.ended:
            os.kill(self.pid, signal.SIGKILL)
            self.status = os.waitpid(self.pid, 0)[1]
            self.ended = True
        if self.sweep is not None:
            self.sweep()


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
            told = json.loads(self.text[:])
            self.forget()
            suite = json.loads(told["suite"])
            if suite["is_script"]:
                if runner.load_script(told.pop("code"), suite["setup"] or suite["before"]):
                    runner.run_test(suite["tests"][first])
            elif runner.load(told.pop("code"), suite["before"], suite["setup"], suite["is_imported"]):
                for ops in suite["tests"][first:]:
                    runner.run_test(ops)
        finally:
            leave(0)

    def serve(self) -> None:
        while True:
            job = self.read_job()
            if job is None:
                return
            try:
                header, frames = self.grade(job)
            except (OSError, MemoryError) as error:  # a fork or a pipe that the machine refused
                header, frames = {"infra": f"{type(error).__name__}: {error}"}, []
            finally:
                os.close(job["nonce_fd"])
            self.answer(json.dumps(header).encode(), frames)
            self.forget()

    def answer(self, head: bytes, frames: list[Frame]) -> None:
        """Send `head` and frames of the output."""
        num_bytes = sum(end - start for start, end in frames)
        write_all(self.fd, HEADER.pack(HEADER.size + len(head) + num_bytes) + pack(head))
        for frame in frames:
            self.output.send(self.fd, frame)

    def forget(self) -> None:
        """Give the memory back that has held something of a program."""
        self.text.close()
        self.output.close()

    def read_job(self) -> dict | None:
        """The limits of the next job, or None when the trainer has closed. Its text stays in `text`, what its children write
        goes into `output`. Its nonce goes straight into a pipe, once for each inline test.
        """
        head = read_exactly(self.fd, HEADER.size + NONCE_BYTES + HEADER.size)
        if head is None:
            return None
        (num_bytes,), (num_limits,) = HEADER.unpack_from(head), HEADER.unpack_from(head, HEADER.size + NONCE_BYTES)
        limits = read_exactly(self.fd, num_limits)
        num_bytes -= NONCE_BYTES + HEADER.size + num_limits
        self.text = private_memory(num_bytes)
        if limits is None or not read_into(self.fd, self.text, num_bytes):
            return None
        job = json.loads(limits)
        self.output = Output(job["max_output_bytes"])
        job["nonce_fd"], write_end = os.pipe()
        os.write(write_end, head[HEADER.size : HEADER.size + NONCE_BYTES] * job["num_inline"])
        os.close(write_end)
        return job

    def grade(self, job: dict) -> tuple[dict, list[Frame]]:
        """Outcome and times of every test, and where its frame is. Forks again for the rest after a test that took the child
        with it.
        """
        num_tests, results, bodies = job["num_tests"], [], []
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

    def run_child(self, job: dict, results: list, bodies: list[Frame]) -> bool:
        """Collect frames from one child until it is through or dies: of all tests that are left, or of the next one where
        the program is a script, which begins anew for each. Appends `[outcome, message, cpu_s, wall_s, length]`; true where
        no test can run.
        """
        child = Child(job, len(results), self)
        num_tests, loaded = len(results) + 1 if job["is_script"] else job["num_tests"], False
        self.output.start_child()
        cpu_mark, wall_mark = 0.0, child.started
        try:
            while len(results) < num_tests:
                outcome, frames = self.wait(child, job, cpu_mark, wall_mark)
                cpu, wall = child.cpu_s(), time.monotonic()
                for frame in frames:
                    kind, num_bytes = self.output.kind(frame), frame[1] - frame[0]
                    if not loaded:
                        loaded = True
                        if kind == LOADED:
                            cpu_mark, wall_mark = (cpu, wall) if cpu - cpu_mark > 0.05 else (cpu_mark, wall_mark)
                            continue
                        results.append(["frame", "", cpu, wall - wall_mark, num_bytes])
                        bodies.append(frame)
                        return kind == ERROR
                    if len(results) < num_tests:
                        self.program_bytes += num_bytes
                        if self.program_bytes > PROGRAM_OUTPUTS * job["max_output_bytes"]:
                            results.append(["output", "too much output of all tests together", 0.0, 0.0, 0])
                            return True
                        results.append(["frame", "", cpu - cpu_mark, wall - wall_mark, num_bytes])
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

    def wait(self, child: Child, job: dict, cpu_mark: float, wall_mark: float) -> tuple[str, list[Frame]]:
        """Where frames are, as they come, or why there will be no more: `timeout`, `output` or `end`."""
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
                if not self.output.read_from(child.fd):
                    return "end", []
                try:
                    frames = self.output.new_frames()
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
    stand_ins.install()
    gc.collect()
    gc.freeze()
    gc.disable()
    with contextlib.suppress(ParentGone):
        worker.serve()
    os._exit(0)
