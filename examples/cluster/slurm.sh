#!/bin/bash
# Clips on a Ray cluster of a Slurm job: sbatch examples/cluster/slurm.sh
# The folder that this is started from must be on a file system that all nodes share.
#SBATCH --job-name=videoalign
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
set -euo pipefail

HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun --nodes=1 --ntasks=1 --nodelist="$HEAD" ray start --head --port=6379 --block &
sleep 20
srun --nodes=$((SLURM_JOB_NUM_NODES - 1)) --ntasks=$((SLURM_JOB_NUM_NODES - 1)) --exclude="$HEAD" ray start --address="$HEAD:6379" --block &
sleep 20

videoalign --log json generate --model Wan-AI/Wan2.1-T2V-1.3B-Diffusers --prompts prompts.txt --out my_prefs --per-prompt 8 --engine ray --address "$HEAD:6379" --ray actors=8 --ray max_actors=32
videoalign --log json reward score runs/reward --dataset my_prefs --max-rejected 0.01 --engine ray --address "$HEAD:6379" --ray max_actors=32
