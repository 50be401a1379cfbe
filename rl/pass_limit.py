"""How many rows or tokens go through the model at once, and what happens where that is too much for its memory."""

import logging
from dataclasses import dataclass

import torch

logger = logging.getLogger(__name__)


def can_begin_again(model: torch.nn.Module) -> bool:
    """Whether a rank may begin a forward pass again by itself: not where the weights are sharded (ZeRO-3) and every layer of a
    pass is gathered by all ranks together.
    """
    return not any(hasattr(parameter, "ds_id") for parameter in model.parameters())


@dataclass
class PassLimit:
    """How much one pass takes: at most `rows` completions, or `tokens` with padding and prompts; 0 is no limit.

    Not frozen: where memory runs out it is halved for the rest of the run; by an update on all ranks alike.
    """

    rows: int = 0
    tokens: int = 0

    def halve(self, what: str) -> None:
        """Half as much from now on; `what` ran out of memory."""
        before = str(self)
        self.rows, self.tokens = self.rows and max(1, self.rows // 2), self.tokens and max(1, self.tokens // 2)
        logger.warning("out of memory in %s: a pass takes at most %s from now on, not %s", what, self, before)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # what is cached in pieces too small for the next attempt

    def __str__(self) -> str:
        return f"{self.tokens} tokens" if self.tokens else f"{self.rows} rows"
