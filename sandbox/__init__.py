"""Runs programs that nobody has read and says whether they are right.

Promised, while the layer report says that seccomp is `ok`:
- A program opens no file, no socket and no other process, signals nobody but itself, and leaves nothing behind when its
  verdict is in.
- A program is paid for a test only if the value it returned, sent out as plain data, equals a value that was never in its
  process. Tests that cannot be split into a call and an expected value are the exception: they run inside the child, are
  marked `inline`, and are counted.
- Every program gets a verdict in bounded time: CPU time, wall time, memory and output are limited from outside.
- `infra_error` is our fault and never the program's: it comes after one retry on a new worker, and must not be turned into a
  reward.

Not promised:
- That a passing program is right: it passes the tests that it was given. A model that sees the tests can hard-code them.
- That an `inline` test cannot be forged by a program that knows this package.
- Protection from a bug in CPython together with one in the kernel, or from timing and cache side channels.
- Anything at all with `--allow_unsafe_sandbox` on a machine without seccomp.

`docs/SANDBOX.md` has the design, the measurements and the attacks that were tried.
"""
