#!/usr/bin/env bash
# One call on a machine with a GPU: starts side_by_side.py unless it runs already, waits, and packs what there is.
#
#     bash experiments/2026-11-28_study_collapse/on_gpu.sh OUTPUT_ROOT TARGET SECONDS [AT_ONCE]
set -u
root=$1 target=$2 seconds=$3 at_once=${4:-4}
here=$(dirname "$0")
mkdir -p "$root"
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-3} PYTHONUNBUFFERED=1
if [ ! -e "$root/started" ]; then
    touch "$root/started"
    if command -v nvidia-cuda-mps-control > /dev/null; then # processes then share the GPU, and need not take turns
        nvidia-cuda-mps-control -d
        if ! timeout 40 python3 -c 'import torch; print("MPS:", torch.ones(8, device="cuda").sum().item())'; then
            echo quit | timeout 20 nvidia-cuda-mps-control
        fi
    else
        echo "no MPS here"
    fi
    setsid python3 "$here/side_by_side.py" "$root" "$at_once" > "$root/queue.txt" 2>&1 &
fi
end=$((SECONDS + seconds))
while [ $SECONDS -lt $end ] && { pgrep -f side_by_side.py > /dev/null; }; do sleep 1; done
cat "$root/done.txt" "$root/queue.txt"
for log in "$root"/log/*; do echo "== $log"; tail -n 2 "$log" | cut -c 1-300; done
nvidia-smi --query-gpu=name,utilization.gpu,memory.used --format=csv
python3 "$here/pack.py" "$root" "$target"
ls -l "$target"
