#!/usr/bin/env bash
# Runs the fuzz targets and says in a table what they reached.
#
#   scripts/fuzz.sh SECONDS [TARGET...]   each target, or these, for so many seconds
#
#   FUZZ_JOBS=2           so many targets at a time (one for each core)
#   FUZZ_SANITIZER=none   faster, and does not watch the memory that dependencies use (address)
#
# All targets are built once. New inputs are kept in fuzz/corpus/TARGET and serve the next run; the seeds in
# fuzz/seeds/TARGET are only read. A find goes to fuzz/artifacts/TARGET, what its log says of it is shown, and the exit
# code is 1. In the table: edges and features as libFuzzer counts them, and how many inputs are in the corpus.
# Needs a nightly toolchain, and not cargo-fuzz: the flags of the compiler are here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ ! ${1:-} =~ ^[1-9][0-9]*$ ]]; then
  sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
  exit 2
fi
seconds=$1
shift
jobs_at_once=${FUZZ_JOBS:-$(nproc)}

mapfile -t known < <(sed -n 's/^path = "fuzz_targets\/\(.*\)\.rs"$/\1/p' fuzz/Cargo.toml)
[[ ${#known[@]} -gt 0 ]] || { echo "fuzz/Cargo.toml names no target" >&2; exit 1; }
targets=("$@")
[[ ${#targets[@]} -gt 0 ]] || targets=("${known[@]}")
for target in "${targets[@]}"; do
  [[ " ${known[*]} " == *" $target "* ]] || { echo "there is no target '$target'; there are: ${known[*]}" >&2; exit 2; }
done

# What `cargo fuzz build` gives the compiler: libFuzzer sees edges and what is compared, a broken assertion is a find.
host=$(rustc +nightly -vV | sed -n 's/^host: //p')
flags=(--cfg fuzzing -C passes=sancov-module -C codegen-units=1 -C debug-assertions)
for argument in sanitizer-coverage-level=4 sanitizer-coverage-inline-8bit-counters sanitizer-coverage-pc-table \
  sanitizer-coverage-trace-compares sanitizer-coverage-stack-depth simplifycfg-branch-fold-threshold=0; do
  flags+=(-C "llvm-args=-$argument")
done
[[ ${FUZZ_SANITIZER:-address} == none ]] || flags+=(-Z "sanitizer=${FUZZ_SANITIZER:-address}")
locked=()
[[ ${CI:-} == true ]] && locked=(--locked)
bins=()
for target in "${targets[@]}"; do bins+=(--bin "$target"); done
# With --target build scripts and macros are spared the flags.
RUSTFLAGS="${flags[*]} ${RUSTFLAGS:-}" \
  cargo +nightly build --manifest-path fuzz/Cargo.toml "${locked[@]}" --release --target "$host" "${bins[@]}"
programs=${CARGO_TARGET_DIR:-fuzz/target}/$host/release
export ASAN_OPTIONS=detect_odr_violation=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

fuzz() { # TARGET
  local target=$1 code=0 corpus=(fuzz/corpus/"$1")
  mkdir -p "${corpus[0]}" "fuzz/artifacts/$target"
  if [[ -d fuzz/seeds/$target ]]; then corpus+=(fuzz/seeds/"$target"); fi
  echo "$target: ${seconds} s, from $(find "${corpus[@]}" -type f | wc -l) inputs"
  "$programs/$target" "${corpus[@]}" "-max_total_time=$seconds" -print_final_stats=1 \
    "-artifact_prefix=fuzz/artifacts/$target/" >"$logs/$target" 2>&1 || code=$?
  echo "$code" >"$logs/$target.code"
  if ((code == 0)); then
    echo "$target: done"
  else
    echo "$target: FOUND something, exit code $code"
    grep -a -A 4 -E 'panicked at|ERROR: ' "$logs/$target" | head -n 20 || true
    tail -n 8 "$logs/$target"
  fi
}

for target in "${targets[@]}"; do
  while (($(jobs -rp | wc -l) >= jobs_at_once)); do wait -n; done
  fuzz "$target" &
done
wait

found=0
printf '\n%-14s %12s %9s %7s %9s %7s  %s\n' target executions per-s edges features corpus result
for target in "${targets[@]}"; do
  result=ok
  if [[ $(cat "$logs/$target.code" 2>/dev/null) != 0 ]]; then
    result=FOUND
    found=1
  fi
  # The last line of counts: `#N DONE cov: EDGES ft: FEATURES corp: INPUTS/SIZE …`.
  counts=$(grep -aE '^#[0-9]+.*cov: [0-9]+ ft: [0-9]+ corp: [0-9]+' "$logs/$target" | tail -n 1 || true)
  [[ $counts =~ ^#([0-9]+).*cov:\ ([0-9]+)\ ft:\ ([0-9]+)\ corp:\ ([0-9]+) ]] || counts=
  if [[ -n $counts ]]; then
    printf '%-14s %12d %9d %7d %9d %7d  %s\n' "$target" "${BASH_REMATCH[1]}" $((BASH_REMATCH[1] / seconds)) \
      "${BASH_REMATCH[2]}" "${BASH_REMATCH[3]}" "${BASH_REMATCH[4]}" "$result"
  else
    printf '%-14s %12s %9s %7s %9s %7s  %s\n' "$target" - - - - - "$result"
  fi
done
exit "$found"
