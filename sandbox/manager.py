"""The manager: one thread that owns the workers of a pool, feeds them, judges their answers and replaces them.

The worker is given at most two programs at a time, so that it never waits for the trainer. A worker that dies, or is silent for longer than the limits
allow, is killed and replaced; the program that it was at is tried once more on another worker and is then an `infra_error`.
"""

import json
import logging
import re
import secrets
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass

from sandbox.frames import FrameBuffer, HEADER, pack
from sandbox.library import LEAN
from sandbox.spawn import Group, Process, start_worker
from sandbox.suite import Suite
from sandbox.verdict import TestResult, Verdict, infra_verdict, verdict_of

logger = logging.getLogger(__name__)

LEAN_GROUP, WIDE_GROUP = Group(True), Group(False)
IMPORTS = re.compile(r"\b(?:import|from)\b([^\n;#]*)")
WORD = re.compile(r"\w+")
WIDE_NAMES = frozenset(sys.stdlib_module_names) - frozenset(LEAN)
IN_FLIGHT = 2
START_S = 60.0
GRACE_S = 10.0
CLOSE_S = 1.0
RETRY_S = 0.1
MAX_FAILED_STARTS = 3
MAX_CODE_BYTES = 4 << 20


@dataclass(eq=False)
class Job:
    """One program on its way to a verdict."""

    code: str
    suite: Suite
    stop_at_first: bool
    future: "Future[Verdict]"
    nonce: str = ""
    failures: int = 0

    @property
    def inline(self) -> tuple[bool, ...]:
        return tuple(test.inline for test in self.suite.tests)

    def resolve(self, verdict: Verdict) -> None:
        if not self.future.cancelled() and not self.future.done():
            try:
                self.future.set_result(verdict)
            except Exception:  # cancelled between the question and the answer
                pass


class Worker:
    """A worker process as the manager sees it."""

    def __init__(self, process: Process):
        self.process = process
        self.buffer = FrameBuffer()
        self.output = bytearray()
        self.jobs: deque[Job] = deque()
        self.is_ready = False
        self.served = 0
        self.deadline = time.monotonic() + START_S


class Manager:
    """Thread and state. Only the thread touches `workers` and `queues`; the lock guards `incoming` and `stopping`."""

    def __init__(self, num_workers: int, limits, allow_unsafe: bool, modules: tuple[str, ...], disabled: tuple[str, ...]):
        self.num_workers, self.limits, self.allow_unsafe, self.disabled = num_workers, limits, allow_unsafe, disabled
        self.groups = (LEAN_GROUP, WIDE_GROUP, Group(False, modules))
        self.modules = frozenset(modules)
        self.queues: dict[Group, deque[Job]] = {group: deque() for group in self.groups}
        self.workers: dict[Group, list[Worker]] = {group: [] for group in self.groups}
        self.failed_starts = dict.fromkeys(self.groups, 0)
        self.incoming: deque[Job] = deque()
        self.lock = threading.Lock()
        self.stopping = False
        self.ready = threading.Event()
        self.problem = ""
        self.report: dict[str, str] = {}
        self.selector = selectors.DefaultSelector()
        self.wake_receiver, self.wake_sender = socket.socketpair()
        for end in (self.wake_receiver, self.wake_sender):
            end.setblocking(False)
        self.selector.register(self.wake_receiver, selectors.EVENT_READ, None)
        self.thread = threading.Thread(target=self.run, name="sandbox-manager", daemon=True)

    # Called by other threads

    def start(self) -> None:
        self.thread.start()

    def wait_until_ready(self) -> None:
        """Raises RuntimeError with the reason where the workers refuse to run, TimeoutError where they do not start."""
        if not self.ready.wait(START_S):
            raise TimeoutError("the sandbox workers did not start")
        if self.problem:
            raise RuntimeError(self.problem)

    def submit(self, job: Job) -> None:
        with self.lock:
            if self.stopping:
                raise RuntimeError("this sandbox pool is closed")
            self.incoming.append(job)
            needs_wake = len(self.incoming) == 1
        if needs_wake:
            self.wake()

    def wake(self) -> None:
        try:
            self.wake_sender.send(b"w")
        except (BlockingIOError, OSError):
            pass  # full means that it will wake anyway; closed means that it has ended

    def stop(self) -> None:
        with self.lock:
            self.stopping = True
        self.wake()
        if self.thread.is_alive() and threading.current_thread() is not self.thread:
            self.thread.join()

    def report_line(self) -> str:
        return f"{self.num_workers} workers: " + ", ".join(f"{name} {state}" for name, state in self.report.items())

    # The thread

    def run(self) -> None:
        try:
            while not self.stopping:
                self.take_incoming()
                for group in self.groups:
                    self.fill(group)
                for key, events in self.selector.select(self.patience()):
                    if key.data is None:
                        self.wake_receiver.recv(4096)
                    else:
                        self.handle(*key.data, events)
                self.replace_silent()
        except Exception:
            logger.exception("the sandbox manager failed")
        finally:
            self.shut_down()

    def patience(self) -> float:
        deadlines = [worker.deadline for workers in self.workers.values() for worker in workers if worker.jobs or not worker.is_ready]
        if any(self.failed_starts.values()):
            return RETRY_S
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else 60.0

    def take_incoming(self) -> None:
        with self.lock:
            jobs, self.incoming = self.incoming, deque()
        for job in jobs:
            if job.future.set_running_or_notify_cancel():
                self.queues[self.group_of(job)].append(job)

    def group_of(self, job: Job) -> Group:
        """The cheapest kind of worker that has what a program says it imports."""
        names = {word for line in IMPORTS.findall(job.code + "\n" + job.suite.source) for word in WORD.findall(line)}
        if "importlib" in job.code or "__import__" in job.code:  # imports that only running it would tell
            names |= WIDE_NAMES
        if names & self.modules:
            return self.groups[2]
        return WIDE_GROUP if names & WIDE_NAMES else LEAN_GROUP

    def fill(self, group: Group) -> None:
        """Start the workers that a group lacks and hand out what is queued."""
        workers, queue = self.workers[group], self.queues[group]
        wanted = self.num_workers if group.is_lean else min((self.num_workers + 1) // 2, len(queue) + len(workers))
        while len(workers) < wanted and not self.problem:
            try:
                process = start_worker(self.limits.memory_mb << 20, group, self.disabled, self.allow_unsafe)
            except OSError as error:
                self.start_failed(group, f"a worker cannot be started: {error}")
                break
            worker = Worker(process)
            workers.append(worker)
            self.selector.register(process.socket, selectors.EVENT_READ, (group, worker))
        for depth in range(IN_FLIGHT):
            for worker in workers:
                if queue and worker.is_ready and len(worker.jobs) <= depth and worker.served + len(worker.jobs) < self.limits.recycle_after:
                    self.send(group, worker, queue.popleft())

    def send(self, group: Group, worker: Worker, job: Job) -> None:
        limits = self.limits
        if not job.suite.tests:
            return job.resolve(verdict_of((), "failed"))
        if len(job.code) > MAX_CODE_BYTES:
            results = tuple(TestResult("error", "the program is too long", 0.0, 0.0, is_inline) for is_inline in job.inline)
            return job.resolve(verdict_of(results))
        job.nonce = secrets.token_hex(16)
        message = {
            "num_inline": job.suite.num_inline, "code": job.code, "suite": job.suite.payload, "stop_at_first": job.stop_at_first,
            "test_timeout_s": limits.test_timeout_s, "test_wall_s": limits.wall_factor * limits.test_timeout_s,
            "program_timeout_s": limits.program_timeout_s, "program_wall_s": limits.program_wall_s,
            "cpu_limit_s": int(limits.program_timeout_s) + 1, "max_output_bytes": limits.max_output_bytes,
        }
        worker.output += pack(job.nonce.encode() + json.dumps(message).encode())
        worker.jobs.append(job)
        if len(worker.jobs) == 1:
            worker.deadline = time.monotonic() + limits.program_wall_s + GRACE_S
        self.flush(group, worker)

    def flush(self, group: Group, worker: Worker) -> None:
        try:
            while worker.output:
                del worker.output[: worker.process.socket.send(worker.output)]
        except BlockingIOError:
            pass
        except OSError:
            return  # dead: the read side will tell
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if worker.output else 0)
        self.selector.modify(worker.process.socket, events, (group, worker))

    def handle(self, group: Group, worker: Worker, events: int) -> None:
        if worker not in self.workers[group]:
            return
        if events & selectors.EVENT_WRITE:
            self.flush(group, worker)
        if not events & selectors.EVENT_READ:
            return
        try:
            chunk = worker.process.socket.recv(1 << 18)
            frames = worker.buffer.feed(chunk)
        except BlockingIOError:
            return
        except (OSError, ValueError):
            chunk, frames = b"", []
        for frame in frames:
            if worker.is_ready:
                self.answer(group, worker, frame)
            else:
                self.greet(group, worker, json.loads(frame))
        if not chunk:
            self.discard(group, worker, "the worker died")
        elif worker in self.workers[group] and worker.served >= self.limits.recycle_after and not worker.jobs:
            self.discard(group, worker, "")

    def greet(self, group: Group, worker: Worker, hello: dict) -> None:
        worker.is_ready = True
        self.failed_starts[group] = 0
        if group.is_lean:
            self.report = hello["report"]
        if hello["refused"]:
            self.fail(f"no seccomp here ({hello['report'].get('seccomp')}): programs are not run; --allow_unsafe_sandbox runs them unprotected")
        if hello["missing"]:
            logger.warning("sandbox: these modules cannot be imported: %s", ", ".join(hello["missing"]))
        if self.report.get("seccomp") != "ok" and not self.problem:
            logger.warning("SANDBOX WITHOUT SECCOMP: programs run unprotected because that was allowed")
        if all(other.is_ready for other in self.workers[LEAN_GROUP]):
            self.ready.set()

    def answer(self, group: Group, worker: Worker, frame: bytes) -> None:
        """Judge one program's frames."""
        job = worker.jobs.popleft()
        worker.served += 1
        worker.deadline = time.monotonic() + self.limits.program_wall_s + GRACE_S
        length = HEADER.unpack_from(frame)[0]
        header, body = json.loads(frame[4:4 + length]), memoryview(frame)[4 + length:]
        if "infra" in header:
            worker.jobs.appendleft(job)
            return self.discard(group, worker, header["infra"])
        try:
            job.resolve(judge(job, header["results"], body))
        except Exception as error:  # a fault of the judge must cost one sample and not the run
            logger.exception("sandbox: the judge failed")
            job.resolve(infra_verdict(f"the judge failed: {type(error).__name__}: {error}", job.inline))

    def discard(self, group: Group, worker: Worker, reason: str) -> None:
        """Kill a worker; its program is tried once more, those behind it go back to the queue."""
        self.workers[group].remove(worker)
        self.selector.unregister(worker.process.socket)
        worker.process.socket.close()
        worker.process.popen.kill()
        worker.process.popen.wait()
        if worker.jobs:
            current = worker.jobs.popleft()
            current.failures += 1
            self.queues[group].extendleft(reversed(worker.jobs))
            if current.failures > 1:
                current.resolve(infra_verdict(reason, current.inline))
            else:
                self.queues[group].appendleft(current)
            logger.warning("sandbox: a worker was replaced: %s", reason)
        if not worker.is_ready:
            self.start_failed(group, reason)

    def start_failed(self, group: Group, reason: str) -> None:
        self.failed_starts[group] += 1
        if self.failed_starts[group] >= MAX_FAILED_STARTS:
            if group.is_lean:
                self.fail(f"the sandbox workers do not start: {reason}")
            while self.queues[group]:
                job = self.queues[group].popleft()
                job.resolve(infra_verdict(reason, job.inline))

    def fail(self, problem: str) -> None:
        self.problem = problem
        self.stopping = True
        self.ready.set()

    def replace_silent(self) -> None:
        now = time.monotonic()
        for group, workers in self.workers.items():
            for worker in [worker for worker in workers if (worker.jobs or not worker.is_ready) and worker.deadline <= now]:
                self.discard(group, worker, "the worker did not answer in time")

    def shut_down(self) -> None:
        with self.lock:
            self.stopping = True
            pending = list(self.incoming)
        pending += [job for queue in self.queues.values() for job in queue]
        workers = [worker for workers in self.workers.values() for worker in workers]
        for worker in workers:
            pending += worker.jobs
            worker.process.socket.close()  # an idle worker leaves at the end of its stream
        deadline = time.monotonic() + CLOSE_S
        for worker in workers:
            try:
                worker.process.popen.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.popen.kill()
                worker.process.popen.wait()
        for job in pending:
            job.resolve(infra_verdict(self.problem or "the pool was closed", job.inline))
        self.selector.close()
        self.wake_receiver.close()
        self.wake_sender.close()
        self.ready.set()


def judge(job: Job, results: list, body: memoryview) -> Verdict:
    """The verdict of a program from the worker's results and the child's frames. Tests that never ran have the status of what stopped them."""
    tests, start, stopped = [], 0, ("error", "not run")
    for index, test in enumerate(job.suite.tests):
        if index >= len(results):
            tests.append(TestResult(*stopped, 0.0, 0.0, test.inline))
            continue
        outcome, message, cpu_s, wall_s, length = results[index]
        if outcome == "frame":
            frame, start = bytes(body[start:start + length]), start + length
            outcome, message = read_frame_of(test, frame, job.nonce)
        if outcome != "passed":
            stopped = outcome, message if outcome in ("error", "exited", "memory") and not tests else f"not run after: {message}"
        tests.append(TestResult(outcome, message, cpu_s, wall_s, test.inline))
        if job.stop_at_first and outcome != "passed":
            results = results[: index + 1]
    return verdict_of(tuple(tests))


def printable(text: str) -> str:
    """A program's words, safe for a terminal and for a log file."""
    return text if text.isprintable() else ascii(text)[1:-1]


def read_frame_of(test, frame: bytes, nonce: str) -> tuple[str, str]:
    """Status and message of one frame: values to judge, or an exception that the child reports."""
    if frame[:1] == b"v":
        return test.judge(frame[1:], nonce)
    if frame[:1] == b"e":
        try:
            status, message = json.loads(frame[1:])
        except (ValueError, RecursionError):
            return "output", "not in the format"
        if status in ("error", "exited", "memory") or (status == "failed" and test.inline):
            return status, printable(str(message)[:400])
    return "output", "not in the format"
