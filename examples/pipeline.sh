#!/usr/bin/env bash
# Prompts in, JSON lines through, the texts that ended by themselves out. Needs jq.
#
# Run: bash examples/pipeline.sh
set -euo pipefail

printf '%s\n' "The king was" "The queen was" "The fox was" |
    hfgen generate -m storyteller --lines --seed 7 -n 60 --stop '.' --format jsonl |
    jq -r 'select(.finish_reason == "stop") | "\(.seed)\t\(.text)."'
