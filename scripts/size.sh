#!/usr/bin/env bash
# Measures the images of examples/firmware and compares them with examples/firmware/budgets.toml. Prints three tables: the
# images and what diset adds to them, what they are compared with, and figures of a run; then what the two crates must not
# do, use a heap or panic. The exit code is 1 when a figure is above its budget or missing, or when one of the two is
# done.
#
#   scripts/size.sh           all of it
#   scripts/size.sh --help    this text
#
# What the columns mean is said in budgets.toml. Figures of the stack are those of the last story (scripts/firmware.sh),
# figures of a run those of the last scripts/firmware.sh measure; both are started when there are none of these images.
# Instructions are counted when there is a C compiler. Exit code 3: a tool is not to be had on a system like this one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

budgets=examples/firmware/budgets.toml

case ${1:-} in
  '') ;;
  -h | --help) sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit ;;
  *) echo "unknown argument: $1 (--help or nothing)" >&2; exit 2 ;;
esac

value() { # SECTION KEY
  awk -v section="[$1]" -v key="$2" '
    /^\[/ { on = ($0 == section) }
    on && index($0, key " = ") == 1 { sub(/^[^=]*= /, ""); gsub(/"/, ""); print; exit }' "$budgets"
}

sections() { # IMAGE NAME... : bytes in these sections
  local image=$1
  shift
  # readelf's table as NAME SIZE(hex).
  LC_ALL=C readelf -SW "$folder/$image" | sed -nE 's/^ *\[ *[0-9]+\] +(\.[^ ]+) +[A-Z_]+ +[0-9a-f]+ +[0-9a-f]+ +([0-9a-f]+).*/\1 \2/p' |
    while read -r name size; do
      if [[ " $* " == *" $name "* ]]; then echo $((16#$size)); fi
    done | awk '{ sum += $1 } END { print sum + 0 }'
}

reported() { # IMAGE NAME ENDING
  awk -v name="$2" '$1 == name { print $2 }' "$folder/$1.$3" 2>/dev/null || true
}

measure() { # IMAGE WHAT: a figure, or nothing when there is none
  local base stack
  case $2 in
    flash) sections "$1" .vector_table .text .rodata .data ;;
    ram) sections "$1" .data .bss .uninit ;;
    stack) if [[ -n $(value "$1" stack) ]]; then reported "$1" stack reports; fi ;;
    memory)
      stack=$(measure "$1" stack)
      if [[ -n $stack ]]; then echo $(($(measure "$1" ram) + stack)); fi
      ;;
    added)
      base=$(value "$1" base)
      if [[ -n $base ]]; then echo $(($(measure "$1" flash) - $(measure "$base" flash))); fi
      ;;
    *) reported "$1" "$2" figures ;;
  esac
}

verdicts=$(mktemp)
trap 'rm -f "$verdicts"' EXIT

# Instructions are counted by a plugin of QEMU, which is built by a C compiler.
is_excused() { # WHAT
  [[ $1 == handshake || $1 == message ]] && ! command -v cc >/dev/null
}

# A table of these images. A figure that has a budget is followed by it.
table() { # WHAT,... IMAGE...
  local columns image what figure budget goal
  IFS=, read -ra columns <<<"$1"
  shift
  printf '%-20s' image
  for what in "${columns[@]}"; do printf ' %17s' "$what"; done
  echo
  for image in "$@"; do
    printf '%-20s' "$image"
    for what in "${columns[@]}"; do
      figure=$(measure "$image" "$what")
      budget=$(value "$image" "$what")
      goal=$(value "$image" "goal.$what")
      printf ' %17s' "${figure:--}${budget:+/$budget}"
      if [[ -z $figure && -n $budget ]] && ! is_excused "$what"; then
        echo "NO FIGURE: $what of $image, which has a budget of $budget" >>"$verdicts"
      elif [[ -n $figure && -n $budget ]] && ((figure > budget)); then
        echo "ABOVE THE BUDGET: $what of $image is $figure, and may be $budget" >>"$verdicts"
      elif [[ -n $figure && -n $goal ]] && ((figure > goal)); then
        echo "above the goal: $what of $image is $figure, and should be $goal" >>"$verdicts"
      fi
    done
    echo
  done
}

sections_of() { # KIND: the sections of budgets.toml of this kind
  local section
  while read -r section; do
    if [[ $(value "$section" kind) == "$1" ]]; then echo "$section"; fi
  done < <(sed -n 's/^\[\(.*\)\]$/\1/p' "$budgets")
}

# Symbols of the crate alloc, in both manglings, and of an allocator.
heap() { # IMAGE
  LC_ALL=C readelf -sW "$folder/$1" |
    grep -E '_ZN5alloc|_5alloc|__rust_(alloc|realloc|dealloc|no_alloc)|__r(dl|g)_(alloc|realloc)'
}

folder=$(scripts/firmware.sh compare) || exit
mapfile -t images < <(sections_of image)
mapfile -t others < <(sections_of comparison)
for image in "${images[@]}"; do
  if [[ ! $folder/$image.reports -nt $folder/$image ]]; then
    scripts/firmware.sh >&2 || exit
    break
  fi
done
for image in "${images[@]}"; do
  if [[ ! $folder/$image.figures -nt $folder/$image ]]; then
    scripts/firmware.sh measure >&2 || exit
    break
  fi
done
panics=$(scripts/panics.sh) || { code=$?; echo "$panics"; exit "$code"; }

echo "bytes (FIGURE/BUDGET)"
table flash,ram,stack,memory,added "${images[@]}"
echo
echo "beside them, bytes"
table flash,ram "${others[@]}"
echo
echo "figures of a run: bytes on the wire, instructions, readings a second"
table connect,reconnect,reading,handshake,message,rate "${images[@]}"
echo
for image in "${images[@]}" "${others[@]}"; do printf '%-20s %s\n' "$image" "$(value "$image" what)"; done
echo
constant() { # NAME: a figure of memory.rs, which a build for a chip checks
  sed -n "s/^pub(crate) const $1: usize = \([0-9]*\);/\1/p" diset-embedded/src/memory.rs
}
acked=$(constant ACKED) outbox=$(constant OUTBOX)
: "${acked:?no ACKED in memory.rs}" "${outbox:?no OUTBOX in memory.rs}"
echo "a client and its outbox without their buffers: $((acked + outbox)) bytes ($acked + $outbox), at most 1024 are the goal"
echo "ways to a panic in diset-proto and diset-embedded: ${panics##*$'\n'}"
bad=0
for image in "${images[@]}" "${others[@]}"; do
  if heap "$image"; then
    echo "$image LINKS THE HEAP"
    bad=1
  fi
done
if ((!bad)); then echo "heap: none, no symbol of alloc in any image"; fi
if [[ -s $verdicts ]]; then
  echo
  cat "$verdicts"
fi
if grep -qE 'ABOVE|NO FIGURE' "$verdicts"; then bad=1; fi
exit "$bad"
