#!/usr/bin/env bash
# The short form of fuzzing: every target once over the inputs that once failed, then some seconds of new ones that begin with the
# committed corpus, two targets at a time. LEDGER_FUZZ_SECONDS (default 20) is for each target. LEDGER_FUZZ_SEED (default 1) is where the chance begins: the
# same each time, so that whether a change passes hangs on the change. Explore with others.
set -euo pipefail
# In this folder, where the flags are that make the code tell what it covers.
cd "$(dirname "$0")"

targets=(log_directory snapshots entries commands requests queries streams notices)
cargo build --release --locked "${targets[@]/#/--bin=}"
triple=$(rustc -vV | sed -n 's/^host: //p')
export binaries="${CARGO_TARGET_DIR:-target}/$triple/release"
mkdir -p artifacts

fuzz() {
    set -euo pipefail
    local target=$1 seed=${LEDGER_FUZZ_SEED:-1} log corpus
    # Sanitizers would watch over allocations; without them the address space is bounded.
    ulimit -v 4194304
    log=$(mktemp)
    corpus=$(mktemp -d)
    ./seeds.sh "$target" "$corpus"
    {
        [ ! -d "regressions/$target" ] || "$binaries/$target" -runs=0 "regressions/$target"
        "$binaries/$target" -max_total_time="${LEDGER_FUZZ_SECONDS:-20}" -timeout=10 -seed="$seed" -len_control=0 -max_len=1024 \
            -artifact_prefix="artifacts/$target-" "$corpus"
    } >"$log" 2>&1 && status=0 || status=$?
    if [ "$status" = 0 ]; then
        echo "$target: $(grep -a '^Done ' "$log" | tail -n 1), seed $seed"
    else
        echo "$target failed, seed $seed:"
        tail -n 60 "$log"
    fi
    rm -rf "$log" "$corpus"
    return "$status"
}
export -f fuzz
printf '%s\n' "${targets[@]}" | xargs -P 2 -I TARGET bash -c 'fuzz TARGET'
