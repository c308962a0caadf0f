#!/usr/bin/env bash
# The test command of the project.
#
#   ./ci.sh            run every check, in the order below
#   ./ci.sh NAME...    run these checks only
#   ./ci.sh soak       play simulated sessions until stopped; not part of the whole run
#   ./ci.sh --help     this text
#
# A failed check does not stop the others. The last line is "N passed, N failed, N skipped"; the exit code is 1 if
# one failed, 2 if the command line was wrong. A check that this machine cannot run is skipped by name; with CI=true
# in the environment a skip counts as a failure. Above the last line stands what each check took, as a table: seconds,
# and those of a processor, of which a machine has several in a second.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# Every check is a function check_NAME, and the comment line `#: ` right above it is what --help says of it. They run
# in the order of this file, cheap ones first. A check runs in its own shell under `set -e`; it calls `skip REASON`
# when something that it cannot install is missing.
#
# Nearly all of the time goes into compiling, so checks share what is compiled. Whatever runs on this machine is built
# by the profile `dev` from the whole workspace with all features (HOST): with others dependencies, and theirs, are
# built once more. Only the proofs of sessions need a compiler that optimises: the profile `checked`, of diset-proto
# alone. docs/notes/2026-12-01-ci-time.md has the figures.

TARGET_DIR=${CARGO_TARGET_DIR:-target}
[[ $TARGET_DIR == /* ]] || TARGET_DIR=$PWD/$TARGET_DIR
NO_STD_CRATES=(diset-proto diset-embedded)
NO_STD_TARGETS=(thumbv7em-none-eabi thumbv6m-none-eabi riscv32imac-unknown-none-elf)
FUZZ_SECONDS=${FUZZ_SECONDS:-5}
PROBE_SECONDS=${PROBE_SECONDS:-60}
SIM_SEEDS=${SIM_SEEDS:-20000}
CHAOS_SEEDS=${CHAOS_SEEDS:-500}

# Under CI the committed Cargo.lock must be up to date. Nobody changes a line there and compiles again, and a panic says
# where it was without debug information.
locked=()
if [[ ${CI:-} == true ]]; then
  locked=(--locked)
  export CARGO_INCREMENTAL=${CARGO_INCREMENTAL:-0} CARGO_PROFILE_DEV_DEBUG=${CARGO_PROFILE_DEV_DEBUG:-0}
fi

# What to build for this machine, see above.
HOST=("${locked[@]}" --workspace --all-features)

SKIPPED=77
skip() {
  echo "$*" >"$notes/skip"
  exit "$SKIPPED"
}

# Shows a command, then runs it.
run() {
  echo "+ $*"
  "$@"
}

# The features that a crate declares, without `default`.
features_of() { # CRATE
  awk '/^\[/ { on = ($0 == "[features]") } on && /^[a-z_0-9-]+ *=/ { sub(/ *=.*/, ""); if ($0 != "default") print }' "$1/Cargo.toml"
}

#: source files: length, a first line that says what lives there
check_files() {
  scripts/files.sh
}

#: no leftovers such as to-do marks, no paths of one machine
check_words() {
  scripts/words.sh
}

#: imports inside diset-proto point down its layers only
check_layers() {
  scripts/layers.sh
}

#: every rule of PROTOCOL.md has a tag that code and a test cite
check_tags() {
  scripts/tags.sh
}

#: shell scripts parse
check_shell() {
  local script
  for script in ci.sh .ci/run scripts/*.sh; do
    bash -n "$script"
    [[ -x $script ]] || { echo "$script is not executable"; return 1; }
  done
  if command -v shellcheck >/dev/null; then run shellcheck ci.sh .ci/run scripts/*.sh; fi
}

#: rustfmt on the workspace, fuzz/ and the firmware
check_fmt() {
  cargo fmt --version >/dev/null 2>&1 || skip "rustfmt is not installed"
  run cargo fmt --all --check
  if [[ -f fuzz/Cargo.toml ]]; then run cargo fmt --manifest-path fuzz/Cargo.toml --check; fi
  # From its folder, or the host's toolchain would look for the members elsewhere.
  (cd examples/firmware && run cargo fmt --all --check)
}

#: clippy without warnings: default features, all, and each of diset-proto alone
check_clippy() {
  cargo clippy --version >/dev/null 2>&1 || skip "clippy is not installed"
  run cargo clippy "${locked[@]}" --workspace --all-targets -- -D warnings
  run cargo clippy "${HOST[@]}" --all-targets -- -D warnings
  local feature
  # Without the targets for tests: their dependencies would switch features on.
  for feature in "" $(features_of diset-proto); do
    run cargo clippy "${locked[@]}" -p diset-proto --lib --no-default-features --features "$feature" -- -D warnings
  done
  run cargo clippy "${locked[@]}" -p diset-std --lib --no-default-features --features ring -- -D warnings
}

#: unit, integration and documentation tests with all features
check_test() {
  if cargo nextest --version >/dev/null 2>&1; then
    # Tests of several programs at a time: many a test waits more than it works, or is the long last one of its program.
    # Twice as many as cores: many of them wait.
    run cargo nextest run "${HOST[@]}" --no-fail-fast --test-threads $((2 * $(nproc)))
    run cargo test "${HOST[@]}" --doc
  else
    echo "there is no cargo-nextest: cargo runs the same tests, one program after the other"
    run cargo test "${HOST[@]}"
  fi
  run env CARGO_TARGET_DIR="$TARGET_DIR/without_alloc" cargo test "${locked[@]}" \
    --manifest-path diset-proto/tests/without_alloc/Cargo.toml
}

#: documentation builds without warnings
check_doc() {
  RUSTDOCFLAGS="-D warnings" run cargo doc "${HOST[@]}" --no-deps
}

#: the examples run: those that need no second terminal to their end within 60 s, the others against each other
check_example() {
  local example output programs=$TARGET_DIR/debug/examples
  run cargo build "${HOST[@]}" --examples
  for example in pingpong custom_io outbox; do
    echo "+ $programs/$example"
    output=$(timeout 60 "$programs/$example") || {
      local code=$?
      echo "$output"
      echo "exit code $code (124: still running after 60 s)"
      return 1
    }
    echo "$output"
    [[ -n $output ]] || { echo "the example printed nothing"; return 1; }
  done
  run scripts/discover.sh "$programs"
}

#: diset-proto and diset-embedded build for three targets without std: bare, with each feature, and with all of a chip
check_nostd() {
  local cargo crate target features every targets=()
  cargo=$(scripts/bare-metal.sh cargo) || {
    [[ $? -ne 3 ]] || skip "no cargo for ${NO_STD_TARGETS[*]}"
    return 1
  }
  # All three at once: one core compiles for one of them while another waits for a macro.
  for target in "${NO_STD_TARGETS[@]}"; do targets+=(--target "$target"); done
  for crate in "${NO_STD_CRATES[@]}"; do
    mapfile -t every < <(features_of "$crate" | grep -xE 'defmt|log|embedded-tls')
    for features in "" "${every[@]}" "$(IFS=,; echo "${every[*]}")"; do
      run env CARGO_TARGET_DIR="$TARGET_DIR/bare-metal" "$cargo" build "${locked[@]}" --lib -p "$crate" \
        "${targets[@]}" --no-default-features --features "$features"
    done
  done
}

#: the firmware runs in QEMU against the real service: readings, commands, cuts, kills, impostors, an end in order
check_firmware() {
  run scripts/firmware.sh || {
    [[ $? -ne 3 ]] || skip "no cargo for the firmware, or no QEMU"
    return 1
  }
}

#: nothing in diset-proto and diset-embedded can panic: the call graph of an image without inlining has no way to it
check_panics() {
  run scripts/panics.sh || {
    [[ $? -ne 3 ]] || skip "no cargo for the firmware"
    return 1
  }
}

#: the firmware is no larger than examples/firmware/budgets.toml says
check_size() {
  run scripts/size.sh || {
    [[ $? -ne 3 ]] || skip "no cargo for the firmware, or no QEMU"
    return 1
  }
}

#: sessions under faults: SIM_SEEDS (20000) simulated worlds; one that fails prints how to replay it
check_sim() {
  SEEDS=$SIM_SEEDS run timeout 600 \
    cargo run "${locked[@]}" --profile checked -p diset-proto --features sim --example simulate
}

#: sessions exhaustively: every interleaving of a few messages, cuts and failures, each state once
check_explore() {
  run cargo test "${locked[@]}" --profile checked -p diset-proto --features sim --test exploration --no-run
  run timeout 900 cargo test "${locked[@]}" --profile checked -p diset-proto --features sim --test exploration -- \
    --include-ignored --nocapture
}

# Not in the list, as it has no end. Other seeds each time.
check_soak() {
  SEEDS=0 FIRST=${FIRST:-$(date +%s)000} run \
    cargo run "${locked[@]}" --profile checked -p diset-proto --features sim --example simulate
}

#: services and clients whose handlers, lines and processes fail, CHAOS_SEEDS (500); one that fails prints how to replay it
check_chaos() {
  run cargo test "${HOST[@]}" --test sockets --no-run
  CHAOS_SEEDS=$CHAOS_SEEDS run timeout 1200 cargo test "${HOST[@]}" --test sockets chaos:: -- --nocapture
}

#: a service is attacked for PROBE_SECONDS (60), from a seed that is printed; PROBE_SEED takes one
check_probe() {
  run cargo test "${HOST[@]}" --test hostile --no-run
  PROBE_SECONDS=$PROBE_SECONDS run timeout $((PROBE_SECONDS + 120)) \
    cargo test "${HOST[@]}" --test hostile probe:: -- --ignored --nocapture
}

#: benchmarks compile, and one short round of them runs
check_bench() {
  run cargo bench "${HOST[@]}" --profile dev --bench '*' --no-run
  run timeout 120 cargo bench "${HOST[@]}" --profile dev --bench streams -- --test
  run timeout 120 cargo bench "${HOST[@]}" --profile dev --bench connections -- --test
}

#: each fuzz target runs for FUZZ_SECONDS (5), needs a nightly toolchain
check_fuzz() {
  [[ -f fuzz/Cargo.toml ]] || { echo "there is no fuzz/Cargo.toml"; return 1; }
  cargo +nightly --version >/dev/null 2>&1 || skip "there is no nightly toolchain"
  run scripts/fuzz.sh "$FUZZ_SECONDS"
}

# --- what follows runs the checks ---

# NAME<tab>TEXT for each check, in the order of this file.
catalog() {
  awk '/^#: / { text = substr($0, 4); next } match($0, /^check_[a-z_]+/) && text != "" { print substr($0, 7, RLENGTH - 6) "\t" text } { text = "" }' ci.sh
}

help() {
  sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//p}' ci.sh
  echo
  catalog | while IFS=$'\t' read -r name text; do printf '  %-10s %s\n' "$name" "$text"; done
}

mapfile -t known < <(catalog | cut -f 1)
chosen=()
for name in "$@"; do
  case $name in
    -h | --help) help; exit 0 ;;
  esac
  if [[ " ${known[*]} soak " != *" $name "* ]]; then
    echo "ci.sh: there is no check '$name'; there are: ${known[*]}" >&2
    exit 2
  fi
  chosen+=("$name")
done
[[ ${#chosen[@]} -gt 0 ]] || chosen=("${known[@]}")

notes=$(mktemp -d)
trap 'rm -rf "$notes"' EXIT
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-auto}

# Sets `worked` to the seconds that processors have worked for the checks so far. `times` tells it of the shell that
# asks, so it cannot stand in a pipe.
read_clock() {
  local line
  times >"$notes/times"
  line=$(tail -n 1 "$notes/times")
  [[ $line =~ ^([0-9]+)m([0-9]+).*\ ([0-9]+)m([0-9]+) ]] || return 0
  worked=$((60 * (10#${BASH_REMATCH[1]} + 10#${BASH_REMATCH[3]}) + 10#${BASH_REMATCH[2]} + 10#${BASH_REMATCH[4]}))
}

row() { # CHECK RESULT SECONDS PROCESSORS REMARK
  printf '| %-8s | %-7s | %5s | %11s | %s |\n' "$1" "$2" "$3" "$4" "$5"
}

# In a whole run the tools for bare metal are fetched while others compile. The check that needs them waits until they
# are there, and says what is wrong when they do not come.
if [[ $# -eq 0 ]]; then
  (scripts/bare-metal.sh cargo; scripts/bare-metal.sh qemu) >"$notes/fetched" 2>&1 &
fi

passed=0 failed=0 skipped=0
worked=0
summary=()
for name in "${chosen[@]}"; do
  text=$(catalog | awk -F '\t' -v name="$name" '$1 == name { print $2 }')
  echo
  echo "=== $name: $text"
  began=$SECONDS
  read_clock
  worked_before=$worked
  rm -f "$notes/skip"
  # Not as the condition of an `if`: that would switch `set -e` off inside.
  set +e
  (set -e; "check_$name")
  code=$?
  set -e
  took=$((SECONDS - began))
  read_clock
  remark=
  if [[ $code -eq 0 ]]; then
    verdict=passed
  elif [[ $code -eq $SKIPPED && -f $notes/skip ]]; then
    verdict=skipped
    remark=$(<"$notes/skip")
    [[ ${CI:-} == true ]] && verdict=failed remark="$remark; under CI nothing may be skipped"
  else
    verdict=failed
    remark="alone: ./ci.sh $name"
  fi
  case $verdict in
    passed) passed=$((passed + 1)) ;;
    failed) failed=$((failed + 1)) ;;
    skipped) skipped=$((skipped + 1)) ;;
  esac
  echo "=== $name $verdict in $took s${remark:+ ($remark)}"
  summary+=("$(row "$name" "$verdict" "$took" $((worked - worked_before)) "$remark")")
done

echo
echo "=== summary"
row check result s "processor s" remark
row :--- :--- ---: ---: :---
printf '%s\n' "${summary[@]}"
row all "" "$SECONDS" "$worked" ""
echo
echo "$passed passed, $failed failed, $skipped skipped"
[[ $failed -eq 0 ]]
