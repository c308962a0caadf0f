#!/usr/bin/env bash
# Finds, or makes, the tools that build and run diset without an operating system.
#
#   scripts/bare-metal.sh [cargo]   print the path of a cargo that builds for the three bare-metal targets of diset
#   scripts/bare-metal.sh qemu      print the path of qemu-system-arm
#
# The cargo is the first of these that exists:
#   1. $DISET_BARE_CARGO, taken as it is;
#   2. the ordinary cargo, where its toolchain has all three targets installed;
#   3. Debian's own Rust (amd64), unpacked into a cache folder: no package is installed, nothing outside the folder
#      changes, and the toolchain on PATH stays what it is. Deleting the folder undoes everything.
# The first run of the third takes one or two minutes and 700 MB; later runs answer at once.
# Give the printed cargo a CARGO_TARGET_DIR of its own: its compiler differs from the ordinary one.
# Only the path goes to stdout; progress goes to stderr. The cache is
# ${XDG_CACHE_HOME:-$HOME/.cache}/diset-bare-metal, or $DISET_BARE_HOME.
# Exit code 3: not to be had on a system like this one.
set -euo pipefail

TARGETS=(thumbv7em-none-eabi thumbv6m-none-eabi riscv32imac-unknown-none-elf)
HOME_DIR=${DISET_BARE_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/diset-bare-metal}
HOST=x86_64-unknown-linux-gnu
# Raise when the layout of the cache folder changes: older folders are then made anew.
LAYOUT=1

say() { echo "bare-metal: $*" >&2; }
fail() { say "$*"; exit 1; }

# Runs a command with its output in the log, of which the end is shown if the command fails.
quietly() {
  "$@" >>"$HOME_DIR/log" 2>&1 && return
  tail -n 25 "$HOME_DIR/log" >&2
  fail "failed: $*"
}

has_core() { # SYSROOT TARGET
  compgen -G "$1/lib/rustlib/$2/lib/libcore-*.rlib" >/dev/null
}

ordinary_cargo_will_do() {
  local sysroot target
  command -v cargo >/dev/null || return 1
  sysroot=$(rustc --print sysroot 2>/dev/null) || return 1
  for target in "${TARGETS[@]}"; do has_core "$sysroot" "$target" || return 1; done
}

need_debian_amd64() { # WHAT
  if [[ $(uname -s)-$(uname -m) != Linux-x86_64 ]] || ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    say "$1 is missing here, and can be fetched on Debian amd64 only. Elsewhere install it, for Rust with:
  rustup target add ${TARGETS[*]}"
    exit 3
  fi
}

refreshed=
apt_refresh() {
  [[ -z $refreshed ]] || return 0
  refreshed=yes
  say "refreshing Debian's package lists"
  apt-get -qq update >>"$HOME_DIR/log" 2>&1 || say "could not refresh the lists (not root?), going on with those at hand"
}

# Downloads PACKAGE... with every library they need that this machine lacks, and unpacks them into FOLDER.
unpack_packages() { # FOLDER PACKAGE...
  local folder=$1 debs wanted deb
  shift
  debs=$(mktemp -d "$HOME_DIR/debs.XXXX")
  # A simulated installation names what is missing and changes nothing.
  wanted=$(apt-get -qq install --simulate --no-install-recommends "$@" 2>>"$HOME_DIR/log" | sed -n 's/^Inst \([^ ]*\).*/\1/p' || true)
  # Firmware images and desktop data are of no use here.
  wanted=$(printf '%s\n' "$wanted" "$@" | grep -vxE 'qemu-system-(data|common)|' | sort -u)
  say "downloading $(wc -w <<<"$wanted") packages for $*"
  # shellcheck disable=SC2086  # the list is split into words on purpose
  (cd "$debs" && quietly apt-get -qq -o APT::Sandbox::User=root download $wanted)
  mkdir -p "$folder"
  for deb in "$debs"/*.deb; do
    # Of the compiler's sources only the standard library's are needed.
    dpkg-deb --fsys-tarfile "$deb" |
      tar -x -C "$folder" --no-wildcards-match-slash --exclude='./usr/share' --exclude='./usr/src/rustc-*/[!l]*' --exclude='./usr/libexec' --exclude='./etc' ||
      fail "could not unpack ${deb##*/}"
  done
  rm -rf "$debs"
}

# A command in bin/ that runs PROGRAM of an unpacked tree with that tree's libraries, wherever the folder is moved to.
wrapper() { # NAME TREE PROGRAM [LINE-OF-SHELL]
  mkdir -p "$HOME_DIR/bin"
  cat >"$HOME_DIR/bin/$1.new" <<WRAPPER
#!/bin/sh
here=\$(cd "\$(dirname "\$(readlink -f "\$0")")/.." && pwd)
tree=\$here/$2
LD_LIBRARY_PATH=\$tree/usr/lib/x86_64-linux-gnu:\$tree/lib/x86_64-linux-gnu\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}
export LD_LIBRARY_PATH
${4:-}
exec "\$tree/$3" "\$@"
WRAPPER
  chmod +x "$HOME_DIR/bin/$1.new"
  mv "$HOME_DIR/bin/$1.new" "$HOME_DIR/bin/$1"
}

provide_rust() {
  local tree=$HOME_DIR/rust llvm
  [[ $(cat "$tree/complete" 2>/dev/null) == "$LAYOUT" ]] && return
  need_debian_amd64 "a Rust toolchain with ${TARGETS[*]}"
  apt_refresh
  apt-cache show rustc-web >/dev/null 2>&1 || fail "Debian's package rustc-web is not in the package lists of this machine"
  # lld must be of the LLVM that this compiler was built with.
  llvm=$(apt-cache depends --recurse --no-recommends --no-suggests --no-enhances --no-breaks --no-conflicts --no-replaces rustc-web |
    grep -oE 'libllvm[0-9]+' | tr -dc '0-9\n' | sort -n | tail -n 1)
  rm -rf "$tree"
  unpack_packages "$tree" rustc-web cargo-web libstd-rust-web-dev rust-web-src "lld-$llvm"
  # rustc looks for the linker of these targets here.
  mkdir -p "$tree/usr/lib/rustlib/$HOST/bin"
  ln -sfn "../../../llvm-$llvm/bin/lld" "$tree/usr/lib/rustlib/$HOST/bin/rust-lld"
  wrapper rustc rust usr/bin/rustc
  wrapper rustdoc rust usr/bin/rustdoc
  # Whatever toolchain the caller runs under, this cargo uses its own compiler.
  wrapper cargo rust usr/bin/cargo "RUSTC=\$here/bin/rustc RUSTDOC=\$here/bin/rustdoc; export RUSTC RUSTDOC
unset CARGO RUSTUP_TOOLCHAIN RUSTC_WRAPPER RUSTC_WORKSPACE_WRAPPER"
  quietly "$HOME_DIR/bin/rustc" --version
  quietly "$HOME_DIR/bin/cargo" --version
  echo "$LAYOUT" >"$tree/complete"
}

# Compiles core and alloc for all targets that lack them, from the sources of this very compiler, and puts them where it
# looks for them, so that afterwards an ordinary `cargo build --target` needs no unstable flag.
provide_core() {
  local sysroot=$HOME_DIR/rust/usr work=$HOME_DIR/core target libs missing=() options=()
  for target in "${TARGETS[@]}"; do
    has_core "$sysroot" "$target" || missing+=("$target") options+=(--target "$target")
  done
  [[ ${#missing[@]} -gt 0 ]] || return 0
  say "compiling core and alloc for ${missing[*]}"
  rm -rf "$work" && mkdir -p "$work/src"
  cat >"$work/Cargo.toml" <<'MANIFEST'
[package]
name = "only-core"
version = "0.0.0"
edition = "2024"
[profile.release]
codegen-units = 1
panic = "abort"
[workspace]
MANIFEST
  printf '#![no_std]\nextern crate alloc;\n' >"$work/src/lib.rs"
  (
    cd "$work"
    unset CARGO_BUILD_RUSTFLAGS CARGO_BUILD_TARGET CARGO_ENCODED_RUSTFLAGS
    # Bitcode lets users of the libraries link with `lto = "fat"`.
    export RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Cembed-bitcode=yes CARGO_TARGET_DIR=$work/target
    quietly "$HOME_DIR/bin/cargo" build --release "${options[@]}" -Zbuild-std=core,alloc -Zbuild-std-features=compiler-builtins-mem
  )
  for target in "${missing[@]}"; do
    libs=$sysroot/lib/rustlib/$target/lib
    # Into place under a name that counts only when all libraries are there.
    rm -rf "$libs" "$libs.new" && mkdir -p "$libs.new"
    find "$work/target/$target/release/deps" -name '*.rlib' ! -name 'libonly_core*' -exec cp -t "$libs.new" {} +
    mv "$libs.new" "$libs"
    has_core "$sysroot" "$target" || fail "no core library came out for $target"
  done
  rm -rf "$work"
}

provide_qemu() {
  local tree=$HOME_DIR/qemu
  [[ $(cat "$tree/complete" 2>/dev/null) == "$LAYOUT" ]] && return
  need_debian_amd64 qemu-system-arm
  apt_refresh
  rm -rf "$tree"
  unpack_packages "$tree" qemu-system-arm
  wrapper qemu-system-arm qemu usr/bin/qemu-system-arm
  quietly "$HOME_DIR/bin/qemu-system-arm" --version
  echo "$LAYOUT" >"$tree/complete"
}

# One caller at a time; the second finds the work done.
lock() {
  mkdir -p "$HOME_DIR"
  exec 9>"$HOME_DIR/lock"
  flock 9
}

case ${1:-cargo} in
  cargo)
    if [[ -n ${DISET_BARE_CARGO:-} ]]; then
      "$DISET_BARE_CARGO" --version >/dev/null || fail "DISET_BARE_CARGO=$DISET_BARE_CARGO is not a cargo that runs"
      echo "$DISET_BARE_CARGO"
    elif ordinary_cargo_will_do; then
      command -v cargo
    else
      lock
      provide_rust
      provide_core
      echo "$HOME_DIR/bin/cargo"
    fi
    ;;
  qemu)
    if ! command -v qemu-system-arm; then
      lock
      provide_qemu
      echo "$HOME_DIR/bin/qemu-system-arm"
    fi
    ;;
  -h | --help) sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//p}' "$0" ;;
  *) fail "unknown argument: $1 (cargo or qemu)" ;;
esac
