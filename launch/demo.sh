#!/usr/bin/env bash
# From nothing to a small model that corrects itself: set up, boost, RL, evaluation before and after, one table.
#     bash launch/demo.sh [SEED]
# Finished stages are kept in runs/demo-SEED and reused; delete that folder to start over.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash launch/setup.sh

seed=${1:-0}
run=runs/demo-$seed
starter=runs/starter
python=.venv/bin/python
processes=$("$python" -c 'import os, torch; print(torch.cuda.device_count() or min(2, len(os.sched_getaffinity(0))))')
launch=("$python" -m torch.distributed.run --standalone --nproc_per_node "$processes")
export OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1
mkdir -p "$run"

stage() { # stage NAME FOLDER COMMAND...: run COMMAND unless FOLDER holds a finished run of it and of the stages before
    local name=$1 folder=$2 argument
    shift 2
    settings=$({ echo "$settings $*"; for argument; do case $argument in *.yaml) cat "$argument" ;; esac; done; } | cksum)
    if [ "$(cat "$folder/.done" 2>/dev/null)" = "$settings" ]; then
        echo "== $name: found in $folder"
        return
    fi
    echo "== $name"
    rm -rf "$folder"
    "$@"
    echo "$settings" > "$folder/.done"
}
trap 'echo "stopped; finished stages are kept, the same command goes on from there" >&2; exit 130' INT
last_checkpoint() { ls -d "$1"/checkpoint-* | sort -t- -k2 -V | tail -1; }
evaluate() { # evaluate MODEL OUTPUT_DIR
    "${launch[@]}" evaluate.py --model_name_or_path "$1" --test_data "$starter/eval.jsonl" --output_dir "$2" \
        --max_new_tokens 80 --batch_size 128
}

echo "seed $seed: boost, evaluation, RL, evaluation; 7 to 12 minutes on two CPU cores, kept in $run"
"$python" -m data.starter --output_dir "$starter"
settings=$(cksum < "$starter/starter.json")
stage "boost" "$run/boost" "${launch[@]}" train_boost.py --config launch/presets/starter_boost.yaml --seed "$seed" \
    --model_name_or_path "$starter/model" --train_data "$starter/boost.json" --output_dir "$run/boost"
boost=$(last_checkpoint "$run/boost")
stage "evaluation of boost" "$run/eval-boost" evaluate "$boost" "$run/eval-boost"
stage "CoCoS" "$run/cocos" "${launch[@]}" train_cocos.py --config launch/presets/starter_cocos.yaml --seed "$seed" \
    --model_name_or_path "$boost" --train_data "$starter/train.jsonl" --output_dir "$run/cocos"
cocos=$(last_checkpoint "$run/cocos")
stage "evaluation after RL" "$run/eval-cocos" evaluate "$cocos" "$run/eval-cocos"

echo
"$python" -m rl.compare "boost=$run/eval-boost" "after RL=$run/eval-cocos"
echo
echo "curves:  .venv/bin/tensorboard --logdir $run"
echo "samples: $run/eval-cocos/samples.jsonl"
