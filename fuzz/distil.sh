#!/usr/bin/env bash
# Makes of what a long run kept in corpus/TARGET the small corpus that is committed, seeds/TARGET.txt: of the inputs that together
# reach all that it reached, the shortest ones, up to LEDGER_FUZZ_SEEDS_BYTES (default 16,384) of each target, one a line in Base64.
set -euo pipefail
cd "$(dirname "$0")"

target=${1:?which target?}
triple=$(rustc -vV | sed -n 's/^host: //p')
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/seeds" "$work/all" seeds
[ ! -f "seeds/$target.txt" ] || ./seeds.sh "$target" "$work/seeds"
"${CARGO_TARGET_DIR:-target}/$triple/release/$target" -set_cover_merge=1 "$work/all" "$work/seeds" "corpus/$target"
left=${LEDGER_FUZZ_SEEDS_BYTES:-16384}
find "$work/all" -type f -printf '%s %p\n' | sort -n | while read -r bytes file; do
    left=$((left - bytes))
    [ "$left" -ge 0 ] || break
    base64 -w 0 "$file"
    echo
done >"seeds/$target.txt"
wc -lc "seeds/$target.txt"
