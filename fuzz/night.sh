#!/usr/bin/env bash
# The long form of fuzzing: LEDGER_FUZZ_SECONDS a target (default 10,800, which is 24 hours of a core for all eight), two at a time, in
# turns of at most half an hour, each with another seed. It begins with the committed corpus and what corpus/TARGET has, and keeps there
# what reaches new code. Broken off in any way, the same command goes on with the rest: corpus/TARGET.night has the seconds and
# executions that were done, the turns that were begun, and of which build. With another build the seconds begin again, and the corpus
# stays. A target that fails has no more turns, the others go on. The exit code is 1 if one failed, or failed before and its input
# still lies in artifacts/.
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p corpus
# Before the build: no other one takes the place of what runs. Held by the fuzzers too, so that no two nights write to the same files.
exec 9>corpus/lock
flock -n 9 || { echo "another night runs here" >&2 && exit 1; }
source ./common.sh

total=${LEDGER_FUZZ_SECONDS:-10800}
longest=1800
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# `note TARGET SECONDS EXECUTIONS TURNS BUILD`, whole or not at all.
note() {
    echo "${@:2}" >"corpus/$1.new"
    mv "corpus/$1.new" "corpus/$1.night"
}

# The executions of a turn up to now: what the fuzzer printed last.
executions_in() {
    tail -c 8192 "$1" | grep -a '^#[0-9]\|^stat::number_of_executed_units' | tail -n 1 | sed 's/^[^0-9]*\([0-9]*\).*/\1/' || true
}

turn() {
    local target=$1 seconds executions turns build length began fuzzer status now log=corpus/$1.log seeds=$work/$1
    # Whatever ends this but its own end: then there is no other turn, and no fuzzer is left behind.
    touch "$work/$target.failed"
    fuzzer=
    trap '[ -z "$fuzzer" ] || kill "$fuzzer" 2>/dev/null || true' EXIT TERM
    read -r seconds executions turns build <"corpus/$target.night"
    turns=$((turns + 1))
    note "$target" "$seconds" "$executions" "$turns" "$build"
    length=$((total - seconds < longest ? total - seconds : longest))
    mkdir -p "$seeds" "corpus/$target"
    ./seeds.sh "$target" "$seeds"
    began=$SECONDS
    fuzz "$target" "$turns" "$length" 4096 -print_final_stats=1 "corpus/$target" "$seeds" >"$log" 2>&1 &
    fuzzer=$!
    while kill -0 "$fuzzer" 2>/dev/null; do
        sleep 2
        # Whoever began this may have been killed.
        kill -0 $$ 2>/dev/null || kill "$fuzzer" 2>/dev/null || true
        now=$((SECONDS - began < length ? SECONDS - began : length))
        note "$target" $((seconds + now)) $((executions + $(executions_in "$log") + 0)) "$turns" "$build"
    done
    wait "$fuzzer" && status=0 || status=$?
    # 72: it was told to end.
    if [ "$status" = 0 ] || [ "$status" = 72 ]; then
        rm "$work/$target.failed"
    else
        echo "$target failed, seed $turns:"
        tail -n 60 "$log"
        grep -a 'Test unit written to' "$log" | sed "s/.*Test unit/$target failed: its input was/" || true
    fi
    say "$target"
}

say() {
    local seconds executions turns build
    read -r seconds executions turns build <"corpus/$1.night"
    echo "$1: $seconds of $total s, $executions executions, turns begun $turns, build $build"
}

end() {
    local target failing
    failing=$(find artifacts -maxdepth 1 -type f -regex '.*-\(crash\|timeout\|oom\|leak\)-[^/]*')
    echo
    for target in "${targets[@]}"; do
        say "$target"
    done
    [ -z "$failing" ] || printf 'fails on %s\n' $failing
    if [ -n "$failing" ] || compgen -G "$work/*.failed" >/dev/null; then
        exit 1
    fi
    exit "$1"
}

stop() {
    trap '' INT TERM
    kill $(jobs -rp) 2>/dev/null || true
    wait
    end 130
}

for target in "${targets[@]}"; do
    build=$(sha256sum <"$binaries/$target" | cut -c 1-12)
    seconds=0 executions=0 turns=0 before=$build
    [ ! -f "corpus/$target.night" ] || read -r seconds executions turns before <"corpus/$target.night"
    if [ "$before" != "$build" ]; then
        echo "$target: another build than $before, which did $executions executions in $seconds s: begins again"
        seconds=0 executions=0
    fi
    note "$target" "$seconds" "$executions" "$turns" "$build"
done
trap stop INT TERM
is_done=
while [ -z "$is_done" ]; do
    is_done=yes
    for target in "${targets[@]}"; do
        if [ -e "$work/$target.failed" ] || [ "$(cut -d ' ' -f 1 "corpus/$target.night")" -ge "$total" ]; then
            continue
        fi
        is_done=
        while [ "$(jobs -rp | wc -l)" -ge 2 ]; do
            wait -n || true
        done
        turn "$target" &
    done
    wait
done
end 0
