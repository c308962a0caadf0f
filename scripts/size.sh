#!/usr/bin/env bash
# Measures the images of examples/firmware and compares them with examples/firmware/budgets.toml. Prints a table; the
# exit code is 1 when a figure is above its budget or an image links the heap.
#
# Figures of the stack are those of the last run of scripts/firmware.sh, which is started when there is none of these
# images.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

budgets=examples/firmware/budgets.toml
folder=$(scripts/firmware.sh build) || exit

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

flash() { sections "$1" .vector_table .text .rodata .data; }
ram() { sections "$1" .data .bss .uninit; }
stack() { awk '$1 == "stack" { print $2 }' "$folder/$1.reports"; }

bad=0
row() { # IMAGE WHAT ACTUAL BUDGET GOAL
  local verdict=
  if [[ -n $4 ]] && (($3 > $4)); then
    verdict="ABOVE"
    bad=1
  elif [[ -n $5 ]] && (($3 > $5)); then
    verdict="above the goal"
  fi
  printf '%-12s %-10s %8s %8s %8s  %s\n' "$1" "$2" "$3" "${4:--}" "${5:--}" "$verdict"
}

mapfile -t images < <(sed -n 's/^\[\(.*\)\]$/\1/p' "$budgets")
for image in "${images[@]}"; do
  if [[ -n $(value "$image" stack) && ! $folder/$image.reports -nt $folder/$image ]]; then
    scripts/firmware.sh >&2 || exit
    break
  fi
done

printf '%-12s %-10s %8s %8s %8s\n' image bytes actual budget goal
for image in "${images[@]}"; do
  row "$image" flash "$(flash "$image")" "$(value "$image" flash)" "$(value "$image" goal.flash)"
  row "$image" ram "$(ram "$image")" "$(value "$image" ram)" "$(value "$image" goal.ram)"
  if [[ -n $(value "$image" stack) ]]; then
    row "$image" stack "$(stack "$image")" "$(value "$image" stack)" ""
    row "$image" memory $(($(ram "$image") + $(stack "$image"))) "" "$(value "$image" goal.memory)"
  fi
  base=$(value "$image" base)
  if [[ -n $base ]]; then
    row "$image" added $(($(flash "$image") - $(flash "$base"))) "$(value "$image" added)" "$(value "$image" goal.added)"
  fi
  if LC_ALL=C readelf -sW "$folder/$image" | grep -E '__rust_alloc|__rg_alloc|__rust_realloc|alloc::alloc'; then
    echo "$image links the heap"
    bad=1
  fi
done
for image in "${images[@]}"; do printf '%-12s %s\n' "$image" "$(value "$image" what)"; done
exit "$bad"
