#!/usr/bin/env bash
# Several nodes through the deepspeed launcher, which logs in to them by ssh: start it once, on any of them.
#   bash launch/recipes/nodes_deepspeed.sh launch/recipes/hostfile
# Edit the hostfile first; ssh must not ask for a password, and the project must lie at the same path on a shared file system.
# Memory as in nodes_torchrun.sh with 64 GPUs; with the 16 of the hostfile 14 GB for 1.5B and 49 GB for 7B.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
hostfile=${1:?the first argument is the hostfile, as launch/recipes/hostfile}
shift
exec .venv/bin/deepspeed --hostfile "$hostfile" --master_port 29500 train_cocos.py \
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
