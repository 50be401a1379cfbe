"""The manager: one thread that owns the workers of a pool, feeds them, judges their answers and replaces them.

The worker is given at most two programs at a time, so that it never waits for the trainer. A worker that dies, or is silent
for longer than the limits allow, is killed and replaced; the program that it was at is tried once more on another worker and
is then an `infra_error`.
"""

import contextlib
import json
import logging
import secrets
import selectors
import socket
import subprocess
import threading
import time
from collections import deque

from sandbox.frames import HEADER, pack
from sandbox.grading import Job, judge
from sandbox.routing import LEAN_GROUP, WIDE_GROUP, group_of
from sandbox.spawn import START_S, Group, Worker, start_worker
from sandbox.verdict import TestResult, infra_verdict, verdict_of

logger = logging.getLogger(__name__)

IN_FLIGHT = 2
GRACE_S = 10.0
CLOSE_S = 1.0
RETRY_S = 0.1
MAX_FAILED_STARTS = 3
MAX_CODE_CHARS = 4 << 20


class Manager:
    """Thread and state. Only the thread touches `workers` and `queues`; the lock guards `incoming` and `stopping`."""

    def __init__(self, num_workers: int, limits, allow_unsafe: bool, modules: tuple[str, ...], disabled: tuple[str, ...]):
        self.num_workers, self.limits, self.allow_unsafe, self.disabled = num_workers, limits, allow_unsafe, disabled
        self.groups = (LEAN_GROUP, WIDE_GROUP, Group(False, modules))
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
        with contextlib.suppress(OSError):  # full: it will wake anyway; closed: it has ended
            self.wake_sender.send(b"w")

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
        deadlines = [
            worker.deadline for workers in self.workers.values() for worker in workers if worker.jobs or not worker.is_ready
        ]
        if any(self.failed_starts.values()):
            return RETRY_S
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else 60.0

    def take_incoming(self) -> None:
        with self.lock:
            jobs, self.incoming = self.incoming, deque()
        for job in jobs:
            if job.future.set_running_or_notify_cancel():
                self.queues[group_of(job.code, job.suite.source, self.groups[2])].append(job)

    def fill(self, group: Group) -> None:
        """Start the workers that a group lacks and hand out what is queued."""
        workers, queue = self.workers[group], self.queues[group]
        wanted = self.num_workers if group.is_lean else min((self.num_workers + 1) // 2, len(queue) + len(workers))
        while len(workers) < wanted and not self.problem:
            try:
                worker = start_worker(self.limits.memory_mb << 20, group, self.disabled, self.allow_unsafe)
            except OSError as error:
                self.start_failed(group, f"a worker cannot be started: {error}")
                break
            workers.append(worker)
            self.selector.register(worker.socket, selectors.EVENT_READ, (group, worker))
        for depth in range(IN_FLIGHT):
            for worker in workers:
                if (
                    queue
                    and worker.is_ready
                    and len(worker.jobs) <= depth
                    and worker.served + len(worker.jobs) < self.limits.recycle_after
                ):
                    self.send(group, worker, queue.popleft())

    def send(self, group: Group, worker: Worker, job: Job) -> None:
        if not job.suite.tests:
            return job.resolve(verdict_of(()))
        if len(job.code) > MAX_CODE_CHARS:
            too_long = (TestResult("error", "the program is too long", 0.0, 0.0, is_inline) for is_inline in job.inline)
            return job.resolve(verdict_of(tuple(too_long)))
        job.nonce = secrets.token_hex(16)
        worker.output += pack(job.message(self.limits))
        worker.jobs.append(job)
        if len(worker.jobs) == 1:
            worker.deadline = time.monotonic() + self.limits.longest_s + GRACE_S
        self.flush(group, worker)

    def flush(self, group: Group, worker: Worker) -> None:
        try:
            while worker.output:
                del worker.output[: worker.socket.send(worker.output)]
        except BlockingIOError:
            pass
        except OSError:
            return  # dead: the read side will tell
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if worker.output else 0)
        self.selector.modify(worker.socket, events, (group, worker))

    def handle(self, group: Group, worker: Worker, events: int) -> None:
        if worker not in self.workers[group]:
            return
        if events & selectors.EVENT_WRITE:
            self.flush(group, worker)
        if not events & selectors.EVENT_READ:
            return
        try:
            chunk = worker.socket.recv(1 << 18)
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
            state = hello["report"].get("seccomp")
            self.fail(f"no seccomp here ({state}): programs are not run; --allow_unsafe_sandbox runs them unprotected")
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
        worker.deadline = time.monotonic() + self.limits.longest_s + GRACE_S
        length = HEADER.unpack_from(frame)[0]
        header, body = json.loads(frame[4 : 4 + length]), memoryview(frame)[4 + length :]
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
        self.selector.unregister(worker.socket)
        worker.socket.close()
        worker.popen.kill()
        worker.popen.wait()
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
            worker.socket.close()  # an idle worker leaves at the end of its stream
        deadline = time.monotonic() + CLOSE_S
        for worker in workers:
            try:
                worker.popen.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.popen.kill()
                worker.popen.wait()
        for job in pending:
            job.resolve(infra_verdict(self.problem or "the pool was closed", job.inline))
        self.selector.close()
        self.wake_receiver.close()
        self.wake_sender.close()
        self.ready.set()
