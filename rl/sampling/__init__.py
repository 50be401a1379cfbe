"""Samplers: token ids in, token ids and logprobs out. `sampler` is the seam, `batch` and `paged` stand behind it."""
