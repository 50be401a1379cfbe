#!/usr/bin/env bash
# The same through the deepspeed launcher, with weights and reference sharded too (ZeRO-3): 45 GB a GPU for Qwen2.5-7B with
# --gradient_checkpointing, 15 of them the whole copy that is sampled from.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
exec .venv/bin/deepspeed --num_gpus 8 train_cocos.py \
    --model_name_or_path "${MODEL:-Qwen/Qwen2.5-7B}" \
    --train_data google-research-datasets/mbpp:full:train \
    --eval_data google-research-datasets/mbpp:full:validation \
    --eval_steps 100 --metric_for_best_model accuracy@2 \
    --output_dir runs/qwen2.5-7b-cocos \
    --config launch/presets/published.yaml \
    --gradient_checkpointing True \
    --deepspeed launch/zero3.json \
    --save_total_limit 2 --resume_from_checkpoint auto "$@"
