#!/usr/bin/env bash
# One GPU. MODEL=runs/qwen-boost/checkpoint-47 starts from a boost stage, as README.md makes it.
# Memory by --dry_run, without libraries (1 to 2 GB): Qwen2.5-0.5B takes 12 GB, so a card of 16 or 24 GB; 1.5B takes 34 GB,
# of which 18.5 are masters and moments: a card of 40 GB, or of 24 with launch/zero2_offload.json, which keeps those 18.5 GB on the CPU.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
exec .venv/bin/python train_cocos.py \
    --model_name_or_path "${MODEL:-Qwen/Qwen2.5-0.5B}" \
    --train_data google-research-datasets/mbpp:full:train \
    --eval_data google-research-datasets/mbpp:full:validation \
    --eval_steps 100 --metric_for_best_model accuracy@2 \
    --output_dir runs/qwen2.5-0.5b-cocos \
    --config launch/presets/published.yaml \
    --gradient_checkpointing True \
    --deepspeed launch/zero0.json \
    --save_total_limit 2 --resume_from_checkpoint auto "$@"
