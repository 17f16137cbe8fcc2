#!/usr/bin/env bash
# All runs of the study for three seeds on one GPU, several at a time; stopped, the same command goes on.
#
#     bash experiments/2026-11-27_gpu_study/side_by_side.sh OUTPUT_ROOT [KEY=VALUE...]
#
# The first seed's base run has the GPU to itself. Towards its end the other bases start; as soon as a base is trained
# its fine-tunes start, in three processes, while it is probed.
set -u
root=$1
shift
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-6}
seeds=(42 43 44)
mkdir -p "$root/log"

study() {
    atlantis study --seeds "$1" --only "$2" --output-root "$root" probe.measures=false "${@:3}" \
        > "$root/log/$1-${2%%,*}.txt" 2>&1
    echo "seed $1, $2: exit code $? after $SECONDS s"
}

run_of_base() { echo "$root/experiments/dist_100k_1M_20epochs_seed$1"; }

all_of() {
    study "$1" base "${@:2}" &
    local base=$!
    until [ -e "$(run_of_base "$1")/checkpoints/final/config.json" ]; do
        sleep 0.2
        kill -0 $base 2> /dev/null || break
    done
    echo "seed $1, base: trained after $SECONDS s"
    study "$1" cross_bs64 "${@:2}" &
    study "$1" cross,mixed "${@:2}" &
    study "$1" inter,inter_bs64 "${@:2}" &
    wait
}

all_of "${seeds[0]}" "$@" &
first=$!
until grep -qs '"step": 26000,' "$(run_of_base "${seeds[0]}")/metrics.jsonl" || ! kill -0 $first 2> /dev/null \
    || [ -e "$(run_of_base "${seeds[0]}")/checkpoints/final/config.json" ]; do
    sleep 0.3
done
for seed in "${seeds[@]:1}"; do
    all_of "$seed" "$@" &
done
wait
