#!/usr/bin/env bash
# The short form of fuzzing: every target once over the inputs that once failed, then a few seconds of new ones.
# LEDGER_FUZZ_SECONDS (default 5) is for each target.
set -euo pipefail
# In this folder, where the flags are that make the code tell what it covers.
cd "$(dirname "$0")"

targets=(log_directory entries commands requests queries streams notices)
cargo build --release --locked "${targets[@]/#/--bin=}"
mkdir -p artifacts
for target in "${targets[@]}"; do
    regressions=()
    [ ! -d "regressions/$target" ] || regressions=("regressions/$target")
    run=(cargo run --quiet --release --locked --bin "$target" --)
    [ ${#regressions[@]} = 0 ] || "${run[@]}" -runs=0 "${regressions[@]}"
    "${run[@]}" -max_total_time="${LEDGER_FUZZ_SECONDS:-5}" -seed="$RANDOM" -len_control=0 -max_len=1024 \
        -artifact_prefix=artifacts/ 2>&1 | tail -n 4
done
