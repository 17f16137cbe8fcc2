#!/bin/sh
# Three fine-tunings of the demo that differ in seeds, and what is read out of each: about 20 minutes on two free cores.
#   sh experiments/2026-11-28_mechanism/run.sh OUTPUT_ROOT
set -e
root=${1:-outputs}
for seed in 1 2 3; do
    run=mechanism_seed$seed
    atlantis train demo name=$run output_root="$root" training.seed=$seed dataset.seed=$seed \
        evaluation.steps=[0,20,50,200] evaluation.probe=false --no-report --resume
    atlantis stitch "$root/experiments/$run" --steps 20,50,200 --items 128
    atlantis intervene "$root/experiments/$run" --steps 200
done
