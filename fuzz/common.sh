# What short.sh and night.sh share. To be sourced in this folder, where the flags are that make the code tell what it covers.
targets=(log_directory snapshots entries commands requests queries streams notices)
cargo build --release --locked "${targets[@]/#/--bin=}"
triple=$(rustc -vV | sed -n 's/^host: //p')
export binaries="${CARGO_TARGET_DIR:-target}/$triple/release"
mkdir -p artifacts

# `fuzz TARGET SEED SECONDS LENGTH [OPTION…] CORPUS…`: a target over the inputs that once failed, then new ones for some seconds.
# In a subshell, which the fuzzer takes the place of.
fuzz() {
    # Sanitizers would watch over allocations; without them the address space is bounded.
    ulimit -v 4194304
    # Said, since `set -e` does nothing in a function whose failure its caller asks for.
    [ ! -d "regressions/$1" ] || "$binaries/$1" -runs=0 -timeout=10 -artifact_prefix="artifacts/$1-" "regressions/$1" || exit
    exec "$binaries/$1" -seed="$2" -max_total_time="$3" -max_len="$4" -timeout=10 -len_control=0 -artifact_prefix="artifacts/$1-" "${@:5}"
}
export -f fuzz
