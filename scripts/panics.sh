#!/usr/bin/env bash
# Shows that no function of diset-proto and diset-embedded has a way to a panic, on the image examples/firmware/surface,
# which asks a client for all that it can do. It is built without inlining, and what is given to the linker is looked
# into by the example panic_paths. That it would find a panic is shown on the ones that surface has on purpose.
#
#   scripts/panics.sh              check; print what there is beside it in short
#   scripts/panics.sh --foreign    list the ways through other crates, such as embedded-tls, one by one
#
# Exit code 3: a tool is not to be had on a system like this one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target_dir=${CARGO_TARGET_DIR:-target}
[[ $target_dir == /* ]] || target_dir=$PWD/$target_dir
given=$target_dir/firmware/given-to-linker
locked=()
[[ ${CI:-} == true ]] && locked=(--locked)

more=()
case ${1:-} in
  '') ;;
  --foreign) more=(--foreign) ;;
  -h | --help) sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit ;;
  *) echo "unknown argument: $1 (--foreign or nothing)" >&2; exit 2 ;;
esac

cargo=$(scripts/bare-metal.sh cargo) || exit
rm -rf "$given" && mkdir -p "$given"
# The threshold is below all that speaks for inlining. The newer mangling says which crate an `impl` is in.
flags=(-C link-arg=-Tlink.x -C link-arg=-Tdefmt.x -C symbol-mangling-version=v0 -C llvm-args=-inline-threshold=-1000000)
flags+=(-C link-arg="--reproduce=$target_dir/firmware/given-to-linker.tar")
# Linked anew: the linker writes what it was given when it runs.
rm -rf "$target_dir"/firmware/thumbv7em-none-eabi/separate/{surface,deps/surface-*,.fingerprint/surface-*}
(cd examples/firmware && CARGO_TARGET_DIR=$target_dir/firmware RUSTFLAGS="${flags[*]}" \
  "$cargo" build --profile separate -p surface "${locked[@]}" >&2)
tar -xf "$given.tar" -C "$given"

# As ci.sh builds for this machine.
cargo build "${locked[@]}" --workspace --all-features --example panic_paths >&2
paths=("$target_dir/debug/examples/panic_paths")
echo "panics on purpose, which must be found:"
"${paths[@]}" --of surface --expect deliberate::direct --expect deliberate::by_an_index \
  --expect deliberate::by_a_helper --expect 'Judge>::judge' "$given" | grep 'found, as it must be'
echo
"${paths[@]}" --of diset_proto --of diset_embedded "${more[@]}" "$given"
