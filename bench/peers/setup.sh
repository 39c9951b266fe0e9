#!/bin/bash
# Installs the peers (transformers, peft, trl) into an environment of their own, once: ~/.cache/minalign-peers, or
# $MINALIGN_PEERS. trl's PPOTrainer was last in 1.12.0, which therefore stands in a folder beside it.
set -e
root="${MINALIGN_PEERS:-$HOME/.cache/minalign-peers}"
[ -x "$root/venv/bin/python" ] || python3 -m venv "$root/venv"
"$root/venv/bin/pip" install -q "torch>=2.6,<2.14" transformers==5.23.0 peft==0.21.2 accelerate==1.15.0 datasets==5.2.0 trl==1.16.0
[ -d "$root/trl_ppo/trl" ] || "$root/venv/bin/pip" install -q --no-deps --target "$root/trl_ppo" trl==1.12.0
echo "peers ready in $root"
