"""Boost pairs as token ids and as rows of an update."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from data.boost.pairs import BoostPair
from data.problem import DataError
from rl.completion import encode
from rl.pretrained import context_tokens
from rl.train_rows import TrainRow


@dataclass(frozen=True)
class EncodedPair:
    """A pair as ids; the completion ends with EOS, so that the model also learns to stop by itself."""

    prompt_ids: list[int]
    completion_ids: list[int]
    name: str

    @property
    def num_tokens(self) -> int:
        return len(self.prompt_ids) + len(self.completion_ids)


def encode_pairs(pairs: Sequence[BoostPair], tokenizer: PreTrainedTokenizerBase, model_config: Any) -> list[EncodedPair]:
    """Token ids of all pairs. Raises: DataError for one that is too long."""
    limit = context_tokens(model_config)
    encoded = []
    for index, pair in enumerate(pairs):
        one = encode_pair(pair, tokenizer, f"boost pair {index}")
        if one.num_tokens > limit:
            raise DataError(
                f"boost pair {index} has {len(one.prompt_ids)} + {len(one.completion_ids)} tokens, the model's "
                f"context {limit}; leave it out"
            )
        encoded.append(one)
    return encoded


def encode_pair(pair: BoostPair, tokenizer: PreTrainedTokenizerBase, name: str = "") -> EncodedPair:
    """Token ids of a pair, its prompt encoded piece by piece as a rollout does."""
    first, *rest = pair.prompt_segments()
    prompt_ids = list(tokenizer(first)["input_ids"])
    for segment in rest:
        prompt_ids += encode(tokenizer, segment)
    eos = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    return EncodedPair(prompt_ids, encode(tokenizer, pair.completion) + eos, name)


def boost_rows(pairs: Sequence[EncodedPair], num_tokens: int) -> list[TrainRow]:
    """Rows whose loss sums to the mean negative log-likelihood a token, `num_tokens` being counted over all ranks."""
    return [TrainRow(pair.prompt_ids, pair.completion_ids, 1.0, 1.0 / num_tokens, name=pair.name) for pair in pairs]
