#!/usr/bin/env bash
# Source files stay readable: at most LIMIT lines, unless scripts/long-files.txt gives a reason, and each file under a
# src/ folder begins with `//!`, which says what lives there. Tests and benches may be longer. Each file and folder of
# tests is a part of a program, as cargo does not look for more of them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

LIMIT=500
REASONS=scripts/long-files.txt
bad=0
report() {
  echo "$*"
  bad=1
}

reason_for() { # PATH
  awk -v path="$1" '$1 == path && NF > 1 { found = 1 } END { exit !found }' "$REASONS"
}

while IFS= read -r file; do
  file=${file#./}
  lines=$(wc -l <"$file")
  case $file in
    */tests/* | */tests.rs | */benches/*) ;;
    *)
      if ((lines > LIMIT)) && ! reason_for "$file"; then
        report "$file has $lines lines, more than $LIMIT: split it, or give a reason in $REASONS"
      fi
      ;;
  esac
  if [[ $file == src/* || $file == */src/* ]] && [[ $(head -c 3 "$file") != '//!' ]]; then
    report "$file does not begin with //!"
  fi
done < <(find . \( -name target -o -name .git \) -prune -o -name '*.rs' -print | sort)

for program in */tests/main.rs; do
  crate=${program%/tests/main.rs}
  for file in "$crate"/tests/*.rs "$crate"/tests/*/{mod,main}.rs; do
    name=${file#"$crate"/tests/}
    case $name in
      main.rs | '*'*) ;;
      */main.rs) grep -qxF "path = \"tests/$name\"" "$crate/Cargo.toml" || report "$file is no [[test]] of $crate/Cargo.toml" ;;
      *)
        name=${name%.rs} name=${name%/mod}
        grep -qxF "mod $name;" "$program" || report "$program has no \`mod $name;\`: the tests of $file do not run"
        ;;
    esac
  done
done

# A reason that is no longer needed goes.
while read -r path _; do
  if [[ ! -f $path ]] || (($(wc -l <"$path") <= LIMIT)); then
    report "$REASONS lists $path, which is gone or short enough"
  fi
done < <(grep -vE '^(#|[[:space:]]*$)' "$REASONS")
exit "$bad"
