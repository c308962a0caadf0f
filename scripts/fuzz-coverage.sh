#!/usr/bin/env bash
# Says what of diset-proto the inputs of the fuzz targets reach, by file: regions, functions and lines.
#
#   LLVM_BIN=FOLDER scripts/fuzz-coverage.sh [TARGET...]   all targets together, or these
#
# Runs the seeds and what scripts/fuzz.sh has kept in fuzz/corpus; finds nothing new. FOLDER holds an llvm-cov and an
# llvm-profdata that read what the nightly toolchain writes: its component llvm-tools, or an LLVM as new. Needs
# cargo-fuzz: `cargo install cargo-fuzz`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ ! -x ${LLVM_BIN:-}/llvm-cov || ! -x $LLVM_BIN/llvm-profdata ]]; then
  sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
  exit 2
fi
targets=("$@")
[[ ${#targets[@]} -gt 0 ]] || mapfile -t targets < <(cargo +nightly fuzz list)

host=$(rustc +nightly -vV | sed -n 's/^host: //p')
# Where cargo-fuzz puts these programs, whatever CARGO_TARGET_DIR says.
programs=target/$host/coverage/$host/release
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

objects=()
profiles=()
for target in "${targets[@]}"; do
  echo "$target" >&2
  mkdir -p fuzz/corpus/"$target"
  cargo +nightly fuzz coverage --llvm-path "$LLVM_BIN" "$target" fuzz/corpus/"$target" fuzz/seeds/"$target" \
    >"$work/log" 2>&1 || { tail -n 20 "$work/log" >&2; exit 1; }
  objects+=(-object "$programs/$target")
  profiles+=("fuzz/coverage/$target/coverage.profdata")
done
"$LLVM_BIN/llvm-profdata" merge -sparse "${profiles[@]}" -o "$work/all"
"$LLVM_BIN/llvm-cov" report "${objects[@]}" "-instr-profile=$work/all" \
  --ignore-filename-regex='(registry|rustc|library|fuzz)/' | cut -c -153
