#!/usr/bin/env bash
# Builds the firmware of examples/firmware and plays its story in QEMU, against the real service.
#
#   scripts/firmware.sh          build the images and the programs of the host, then play
#   scripts/firmware.sh build    build the images only, and print the folder they are in
#   scripts/firmware.sh compare  build what the images are compared with, examples/firmware/compare, too
#   scripts/firmware.sh measure  play what is measured: a file NAME.figures beside each image NAME
#
# DISET_BARE_CARGO names another cargo for the images, see scripts/bare-metal.sh. defmt-print, which makes the logs of
# the firmware readable, is installed below the target folder when it is missing.
# Exit code 3: a tool is not to be had on a system like this one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target_dir=${CARGO_TARGET_DIR:-target}
[[ $target_dir == /* ]] || target_dir=$PWD/$target_dir
images=$target_dir/firmware
locked=()
[[ ${CI:-} == true ]] && locked=(--locked)
# As ci.sh builds for this machine.
host=("${locked[@]}" --workspace --all-features)

# The places of panics are in the images, with their paths: the same ones wherever project and crates lie, and short.
short_paths() { # CARGO PROJECT
  local registry rustc core flags
  registry=$(echo "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/)
  rustc=$(dirname "$1")/rustc
  [[ -x $rustc ]] || rustc=rustc
  core=$("$rustc" --print sysroot)/lib/rustlib/src/rust
  flags="'--remap-path-prefix=$2/=', '--remap-path-prefix=$registry=', '--remap-path-prefix=$core=rust'"
  echo "target.'cfg(all(target_arch = \"arm\", target_os = \"none\"))'.rustflags = [$flags]"
}

build() (
  local cargo project=$PWD
  cargo=$(scripts/bare-metal.sh cargo) || exit
  export CARGO_TARGET_DIR=$images
  # From its folder: cargo takes target and linker script from the .cargo/config.toml there.
  cd examples/firmware
  "$cargo" fetch -q "${locked[@]}"
  "$cargo" build --release "${locked[@]}" --config "$(short_paths "$cargo" "$project")" >&2
  # The images share crates, and features with them; what one does not use must not be in it.
  local symbols
  symbols=$(LC_ALL=C readelf -sW "$images/thumbv7em-none-eabi/release/agent_trusted_line")
  if grep -E 'embedded_tls|p256|aes_gcm|rand_chacha' <<<"$symbols" >&2; then
    echo "agent_trusted_line links TLS" >&2
    return 1
  fi
)

# Programs of the host, and where they are.
prepare() {
  QEMU=$(scripts/bare-metal.sh qemu) || exit
  build
  export PATH=$target_dir/tools/bin:$PATH
  # A release takes twice as long to build. What reads the images, and their debug information, is worth it.
  command -v defmt-print >/dev/null || cargo install --debug --locked --root "$target_dir/tools" defmt-print \
    --config profile.dev.debug=0 --config profile.dev.package.defmt-decoder.opt-level=2 \
    --config profile.dev.package.gimli.opt-level=2
  DEFMT_PRINT=$(command -v defmt-print)
  cargo build "${host[@]}" --examples
  cargo test "${host[@]}" --test firmware --no-run
  export QEMU DEFMT_PRINT FIRMWARE=$images/thumbv7em-none-eabi/release PROGRAMS=$target_dir/debug/examples
}

# A plugin of QEMU must be of its version; without one instructions are not counted.
provide_plugin() {
  local version plugin=$images/instructions.so
  command -v cc >/dev/null || return 0
  for version in 1 2 3 4; do
    cc -O2 -shared -fPIC "-DVERSION=$version" -o "$plugin" scripts/instructions.c || return 0
    if "$QEMU" -M none -display none -monitor stdio -serial null -plugin "$plugin,count=$images/instructions" \
      <<<quit >/dev/null 2>&1; then
      export PLUGIN=$plugin
      return
    fi
  done
}

case ${1:-play} in
  build)
    build
    echo "$images/thumbv7em-none-eabi/release"
    ;;
  compare)
    build
    cargo=$(scripts/bare-metal.sh cargo) || exit
    # postcard_rpc by itself: it brings an executor of another version.
    for packages in "-p bare -p mqtt" "-p postcard_rpc"; do
      # shellcheck disable=SC2086  # a list of arguments
      (cd examples/firmware && CARGO_TARGET_DIR=$images "$cargo" build --release "${locked[@]}" $packages >&2)
    done
    echo "$images/thumbv7em-none-eabi/release"
    ;;
  play)
    prepare
    # The stories wait more than they work.
    timeout 180 cargo test "${host[@]}" --test firmware -- --ignored --nocapture --test-threads 4 \
      --skip figures_of_a_run
    ;;
  measure)
    prepare
    provide_plugin
    timeout 180 cargo test "${host[@]}" --test firmware -- --ignored --nocapture figures_of_a_run
    ;;
  -h | --help) sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" ;;
  *) echo "unknown argument: $1 (build, compare, measure or nothing)" >&2; exit 2 ;;
esac
