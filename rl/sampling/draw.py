"""Drawing a token from logits with a uniform number, on the device that the logits lie on.

Shapes: `B` rows, `V` vocabulary.
"""

import torch

# Tokens of the vocabulary that a draw sums at once.
CHUNK = 256
# Of uniforms and sums: float32 would cut the tail of a vocabulary of 150,000 tokens.
CDF_DTYPE = torch.float64


def draw_tokens(logits: torch.Tensor, uniforms: torch.Tensor, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """A token (B,) for each row of logits (B, V) and uniform (B,), and its logprob (B,) under what it was drawn from.

    `temperature` 0 is greedy decoding, with logprobs at temperature 1.
    """
    logits = logits.float() / (temperature or 1.0)
    # As the training forward does it: log_softmax rounds otherwise, by as much for every token.
    log_total = logits.logsumexp(-1, keepdim=True)  # (B, 1)
    if temperature == 0:
        tokens = logits.argmax(-1, keepdim=True)
    else:
        tokens = inverse_cdf((logits - log_total).exp_(), uniforms).unsqueeze(-1)
    return tokens.squeeze(-1), (logits.gather(-1, tokens) - log_total).squeeze(-1)


def inverse_cdf(probs: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """The token (B,) at which the cumulated probabilities (B, V) of a row pass its uniform (B,) times their total.

    Sums a chunk of the vocabulary at a time and searches the one that holds the token: cumulating all of it, in the double
    precision that the tail of a large vocabulary needs, took longer than the rest of a draw.
    """
    chunks = torch.nn.functional.pad(probs, (0, -probs.shape[-1] % CHUNK)).unflatten(-1, (-1, CHUNK))  # (B, V / CHUNK, CHUNK)
    ends = chunks.sum(-1, dtype=uniforms.dtype).cumsum(-1)  # (B, V / CHUNK)
    target = (uniforms * ends[:, -1]).unsqueeze(-1)  # scaled by the total: no gap at the end
    chunk = _first_above(ends, target)  # (B, 1)
    start = ends.gather(-1, (chunk - 1).clamp(min=0)) * (chunk > 0)
    inside = chunks[torch.arange(len(chunks), device=probs.device), chunk.squeeze(-1)].cumsum(-1, dtype=uniforms.dtype)
    token = chunk * CHUNK + _first_above(inside, target - start)
    return token.clamp(max=probs.shape[-1] - 1).squeeze(-1)


def _first_above(cdf: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Index (B, 1) of the first entry of `cdf` (B, X) above `target` (B, 1): never one of probability 0."""
    return torch.searchsorted(cdf, target, right=True).clamp(max=cdf.shape[-1] - 1)
