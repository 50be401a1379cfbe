#!/usr/bin/env bash
# One node with 8 GPUs of 80 GB, torchrun: Qwen2.5-1.5B on MBPP, boost model or base with few-shot examples.
# Memory of a rank under ZeRO-2, bf16: 3 GB of weights + 3 GB of reference + 18/8 GB of masters and moments + activations and cache.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
exec .venv/bin/python -m torch.distributed.run --standalone --nproc_per_node 8 train_cocos.py \
    --model_name_or_path Qwen/Qwen2.5-1.5B \
    --train_data google-research-datasets/mbpp:full:train \
    --eval_data google-research-datasets/mbpp:full:validation \
    --fewshot_data google-research-datasets/mbpp:full:prompt \
    --output_dir runs/qwen2.5-1.5b-cocos \
    --config launch/presets/published.yaml \
    --deepspeed launch/zero2.json "$@"
