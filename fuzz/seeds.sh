#!/usr/bin/env bash
# Writes the committed corpus of a target, seeds/TARGET.txt, into a directory: a file for each line.
set -euo pipefail
cd "$(dirname "$0")"

number=0
while read -r line; do
    number=$((number + 1))
    base64 -d <<<"$line" >"$2/$number"
done <"seeds/$1.txt"
