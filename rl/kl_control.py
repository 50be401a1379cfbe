"""The coefficient of the KL penalty: fixed, or steered towards a target."""

import math

MAX_ERROR = 0.2
RATE = 0.1


class KlCoefficient:
    """Starts at `coef`; with a `target` (nats a sequence) it is multiplied after every step by 1 + 0.1 * error.

    The error is kl / target - 1, clipped to 0.2 either way, so that a step moves the coefficient by at most 2%.
    Source: Ziegler et al., arXiv 1909.08593, section 2.2, with a horizon of ten steps.
    """

    def __init__(self, coef: float, target: float):
        self.value = coef
        self._target = target

    def resume(self, value: float) -> None:
        """Go on from where an interrupted run had steered to. A coefficient that nothing steers is what its flag says."""
        if self._target:
            self.value = value

    def update(self, kl: float | None) -> None:
        """`kl`: the step's mean sequence KL, the same on every rank; None where the step had no attempts to learn from.

        One that is not finite says nothing about where to steer.
        """
        if self._target and kl is not None and math.isfinite(kl):
            error = min(max(kl / self._target - 1, -MAX_ERROR), MAX_ERROR)
            self.value *= 1 + RATE * error
