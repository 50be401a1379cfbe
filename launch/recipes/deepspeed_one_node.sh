#!/usr/bin/env bash
# The same run through the deepspeed launcher, with parameters sharded too (ZeRO-3).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
exec .venv/bin/deepspeed --num_gpus 8 train_cocos.py \
    --model_name_or_path Qwen/Qwen2.5-1.5B \
    --train_data google-research-datasets/mbpp:full:train \
    --eval_data google-research-datasets/mbpp:full:validation \
    --fewshot_data google-research-datasets/mbpp:full:prompt \
    --output_dir runs/qwen2.5-1.5b-cocos \
    --config launch/presets/published.yaml \
    --deepspeed launch/zero3.json "$@"
