#!/usr/bin/env bash
# The short form of fuzzing: every target once over the inputs that once failed, then some seconds of new ones that begin with the
# committed corpus, two targets at a time. LEDGER_FUZZ_SECONDS (default 20) is for each target. LEDGER_FUZZ_SEED (default 1) is where the chance begins: the
# same each time, so that whether a change passes hangs on the change. Explore with others.
set -euo pipefail
cd "$(dirname "$0")"
source ./common.sh

try() {
    set -euo pipefail
    local target=$1 seed=${LEDGER_FUZZ_SEED:-1} log corpus
    log=$(mktemp)
    corpus=$(mktemp -d)
    ./seeds.sh "$target" "$corpus"
    (fuzz "$target" "$seed" "${LEDGER_FUZZ_SECONDS:-20}" 1024 "$corpus") >"$log" 2>&1 && status=0 || status=$?
    if [ "$status" = 0 ]; then
        echo "$target: $(grep -a '^Done ' "$log" | tail -n 1), seed $seed"
    else
        echo "$target failed, seed $seed:"
        tail -n 60 "$log"
    fi
    rm -rf "$log" "$corpus"
    return "$status"
}
export -f try
printf '%s\n' "${targets[@]}" | xargs -P 2 -I TARGET bash -c 'try TARGET'
