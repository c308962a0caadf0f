#!/usr/bin/env bash
# Nothing unfinished and nothing of one machine stays in the tree: no to-do marks, no absolute paths of a person's or
# a build machine's folders.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bad=0
forbid() { # WHAT PATTERN
  # Not this file, which names what it looks for.
  if grep -rnIE --exclude-dir={.git,target,corpus,artifacts,coverage} --exclude=words.sh --exclude=Cargo.lock -e "$2" .; then
    echo "^ $1"
    bad=1
  fi
}

forbid "left to do: do it, or write an issue" '\b(TODO|FIXME|XXX|HACK)\b|\b(todo|unimplemented)!\('
forbid "a path of one machine" '(^|[^A-Za-z0-9_.~-])/(home|root|work|Users)/[A-Za-z0-9._-]'
exit "$bad"
