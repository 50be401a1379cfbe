#!/usr/bin/env bash
# One node of 8 GPUs, torchrun. MODEL=runs/qwen-boost/checkpoint-47 starts from a boost stage, as README.md makes it.
# Memory of a GPU as --dry_run counts it, for prompts of at most 404 tokens, ZeRO-2, bf16: 32 GB for Qwen2.5-1.5B (16 with
# --gradient_checkpointing True), 52 GB for 3B (26), 91 GB for 7B (56): cards of 40 or 80 GB.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-600} # after SIGTERM a step ends first; torch of 2026 and later reads it, older ones wait 30 s
exec .venv/bin/python -m torch.distributed.run --standalone --nproc_per_node 8 train_cocos.py \
    --model_name_or_path "${MODEL:-Qwen/Qwen2.5-1.5B}" \
    --train_data google-research-datasets/mbpp:full:train \
    --eval_data google-research-datasets/mbpp:full:validation \
    --eval_steps 100 --metric_for_best_model accuracy@2 \
    --output_dir runs/qwen2.5-1.5b-cocos \
    --config launch/presets/published.yaml \
    --deepspeed launch/zero2.json \
    --save_total_limit 2 --resume_from_checkpoint auto "$@"
