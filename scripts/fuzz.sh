#!/usr/bin/env bash
# Runs the fuzz targets and says in a table what they reached.
#
#   scripts/fuzz.sh SECONDS [TARGET...]   each target, or these, for so many seconds
#
#   FUZZ_JOBS=2           so many targets at a time (1)
#   FUZZ_SANITIZER=none   faster, and does not watch the memory that dependencies use (address)
#
# All targets are built once. New inputs are kept in fuzz/corpus/TARGET and serve the next run; the seeds in
# fuzz/seeds/TARGET are only read. A find goes to fuzz/artifacts/TARGET, what its log says of it is shown, and the exit
# code is 1. In the table: edges and features as libFuzzer counts them, and how many inputs are in the corpus.
# Needs a nightly toolchain; cargo-fuzz is installed below the target folder when it is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ ! ${1:-} =~ ^[1-9][0-9]*$ ]]; then
  sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
  exit 2
fi
seconds=$1
shift
jobs_at_once=${FUZZ_JOBS:-1}

target_dir=${CARGO_TARGET_DIR:-target}
[[ $target_dir == /* ]] || target_dir=$PWD/$target_dir
export PATH=$target_dir/tools/bin:$PATH
command -v cargo-fuzz >/dev/null || cargo install --locked --root "$target_dir/tools" cargo-fuzz

mapfile -t known < <(cargo +nightly fuzz list)
targets=("$@")
[[ ${#targets[@]} -gt 0 ]] || targets=("${known[@]}")
for target in "${targets[@]}"; do
  [[ " ${known[*]} " == *" $target "* ]] || { echo "there is no target '$target'; there are: ${known[*]}" >&2; exit 2; }
done

cargo +nightly fuzz build --sanitizer "${FUZZ_SANITIZER:-address}"
host=$(rustc +nightly -vV | sed -n 's/^host: //p')
programs=${CARGO_TARGET_DIR:-fuzz/target}/$host/release
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
