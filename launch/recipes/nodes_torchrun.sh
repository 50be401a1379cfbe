#!/usr/bin/env bash
# Several nodes of 8 GPUs: start this on every one of them, with the same HEAD (a node's name or address) and NODES.
#   HEAD=node0 NODES=8 bash launch/recipes/nodes_torchrun.sh
# The folder of the project, the caches and --output_dir must be the same on all: a shared file system.
# Memory of a GPU under ZeRO-2 with 64 of them: 13 GB for Qwen2.5-1.5B, 44 GB for 7B, both with --gradient_checkpointing.
# 512 trajectories a step: with 64 processes each has two problems of four corrections.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
: "${HEAD:?set HEAD to the name or address of one of the nodes}" "${NODES:?set NODES to how many there are}"
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-600} # after SIGTERM a step ends first; torch of 2026 and later reads it, older ones wait 30 s
exec .venv/bin/python -m torch.distributed.run \
    --nnodes "$NODES" --nproc_per_node "${GPUS_PER_NODE:-8}" \
    --rdzv_backend c10d --rdzv_endpoint "$HEAD:29400" --rdzv_id "${RUN_ID:-cocos}" \
    train_cocos.py \
    --model_name_or_path "${MODEL:-Qwen/Qwen2.5-1.5B}" \
    --train_data google-research-datasets/mbpp:full:train \
    --eval_data google-research-datasets/mbpp:full:validation \
    --eval_steps 100 --metric_for_best_model accuracy@2 \
    --output_dir runs/qwen2.5-1.5b-cocos-nodes \
    --config launch/presets/published.yaml \
    --global_batch_size 512 \
    --gradient_checkpointing True \
    --deepspeed launch/zero2.json \
    --save_total_limit 2 --resume_from_checkpoint auto "$@"
