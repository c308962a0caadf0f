#!/usr/bin/env bash
# Breaks the bookkeeping of sessions on purpose, one small thing at a time, and says which tests notice.
#
#   scripts/mutants.sh             the mutants that are listed below
#   scripts/mutants.sh NAME...     these only
#   scripts/mutants.sh --cargo     those that cargo-mutants finds in the same modules (takes an hour or more)
#
# It works on a copy. The exit code is 1 when a mutant survives, and 2 when one of the list cannot be made any more.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

case ${1:-} in
  -h | --help) sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit ;;
esac

TESTS=(--test exploration --test protocol)
# Of those, what is not about sessions by hand.
WITHOUT=(golden learned recording scenarios seeds serial simulation sizes)
WITHOUT=("${WITHOUT[@]/#/--skip=}")
WITHOUT=("${WITHOUT[@]/%/::}")
MODULES=(session/mod.rs session/welcome.rs session/sending.rs session/receiving.rs session/record.rs store.rs conn/incoming.rs
  conn/outgoing.rs conn/sessions.rs conn/pending.rs)

if [[ ${1:-} == --cargo ]]; then
  shift
  command -v cargo-mutants >/dev/null || { echo "cargo install cargo-mutants --locked" >&2; exit 2; }
  files=()
  for module in "${MODULES[@]}"; do files+=(--file "diset-proto/src/$module"); done
  exec cargo mutants --package diset-proto "${files[@]}" --timeout 120 "$@" -- --lib "${TESTS[@]}" -- "${WITHOUT[@]}"
fi

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$copy"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/mutants

chosen=("$@")
survived=()

# Replaces OLD, which stands once in FILE, by NEW.
mutant() { # NAME FILE OLD NEW
  local name=$1 file=$2 output failed
  [[ ${#chosen[@]} -eq 0 || " ${chosen[*]} " == *" $name "* ]] || return 0
  cp "diset-proto/src/$file" "$copy/diset-proto/src/$file"
  OLD=$3 NEW=$4 perl -0pi -e '$n = s/\Q$ENV{OLD}\E/$ENV{NEW}/; END { exit 2 unless $n == 1 }' \
    "$copy/diset-proto/src/$file" || { echo "$name: $file has changed; mend this list" >&2; exit 2; }
  output=$(cd "$copy" && RUSTFLAGS="${RUSTFLAGS:-} --cap-lints warn" timeout 600 \
    cargo test --quiet --package diset-proto "${TESTS[@]}" --no-fail-fast -- "${WITHOUT[@]}" 2>&1) && output=
  failed=$(grep -E '^    [a-z_:]+$' <<<"$output" | sort -u | xargs | sed 's/ /, /g') || true
  if [[ $output == *"could not compile"* ]]; then
    echo "$name: does not compile" >&2
    grep -m 1 -A 4 '^error' <<<"$output" >&2
    exit 2
  elif [[ -z $output ]]; then
    echo "| $name | SURVIVES |"
    survived+=("$name")
  else
    echo "| $name | ${failed:-crashed or hung} |"
  fi
  cp "diset-proto/src/$file" "$copy/diset-proto/src/$file"
}

S=session/sending.rs R=session/receiving.rs M=session/mod.rs W=session/welcome.rs

mutant counter-off-by-one $R 'let number = self.arriving.saturating_add(1);' 'let number = self.arriving.saturating_add(2);'
mutant dedupe-off-by-one $R 'if number <= self.received {
            self.arriving' 'if number < self.received {
            self.arriving'
mutant resend-without-dedupe $R 'if number <= self.received {
            self.arriving' 'if false {
            self.arriving'
mutant ack-before-handling $R '(self.received, self.last) = (number, number);
        Arrival' '(self.received, self.last) = (number, number);
        self.done_through(number);
        Arrival'
mutant ack-off-by-one $R 'self.told_processed = through;' 'self.told_processed = through + 1;'
mutant told-more-than-kept $R 'let (received, processed) = self.inbox.kept();' 'let (received, processed) = (u64::MAX, u64::MAX);'
mutant received-not-rolled-back $R 'if !self.inbox.is_durable() {' 'if false {'
mutant durable-rolled-back $R 'if !self.inbox.is_durable() {' 'if true {'
mutant running-handler-rolled-back $R 'self.processed.max(self.begun)' 'self.processed'
mutant outcome-not-in-claim $R '|failure| failure.number <= processed' '|failure| failure.number > processed'
mutant outcomes-never-confirmed $R '|failure| failure.number > number' '|failure| failure.number > 0 * number'
mutant outcome-of-another $S 'number: failure.number - told,' 'number: failure.number,'
mutant skip-not-counted $R 'self.arriving.checked_add(count)?' 'self.arriving.checked_add(0 * count)?'
mutant settled-twice $R 'if number <= self.processed || number > self.received {
            return;' 'if number > self.received {
            return;'
mutant refused-message-comes-again $R 'self.settle(number, Outcome::Failed(code));' 'let _ = (number, code);'
mutant freed-at-received $S 'while self.peer_durable && self.freed' 'while self.freed'
mutant never-freed-at-received $S 'while self.peer_durable && self.freed' 'while false && self.freed'
mutant not-rewound $S 'self.cursor = received;
        let mut again' 'let mut again'
mutant new-keeps-base $S 'self.base = self.processed;' ''
mutant unknown-not-reported $S 'self.unknown = self.unknown.max(self.sent);' ''
mutant resent-without-mark $S 'self.replay.mark_repeated(last);' ''
mutant leaves-before-it-is-kept $S 'stored.number > self.replay.kept() || ' ''
mutant ack-of-what-was-not-sent $S 'if received > self.cursor || processed > received {' 'if processed > received {'
mutant claim-not-checked $M 'self.sending.agrees(claim) && self.receiving.agrees(claim)' 'self.sending.agrees(claim) || self.receiving.agrees(claim) || true'
mutant claim-of-sender-not-checked $M 'self.sending.agrees(claim) && self.receiving.agrees(claim)' 'self.receiving.agrees(claim)'
mutant claim-of-receiver-not-checked $M 'self.sending.agrees(claim) && self.receiving.agrees(claim)' 'self.sending.agrees(claim)'
mutant token-not-checked $W 'valid.any(|token| token == shown)' 'valid.any(|_| true)'
mutant token-not-rotated $W '        self.token = Some(token);' '        let _ = token;'
mutant shown-token-not-kept $W 'self.former = Some(*shown);' 'self.former = None;'
mutant old-token-valid-for-ever $M 'self.link.is_fresh = false;
        self.former = None;' 'self.link.is_fresh = false;'
mutant proof-not-asked $W 'None => proven ||' 'None => true ||'
mutant late-attempt-taken $W 'trid < self.newest' 'trid < self.newest && false'
mutant lost-beginning-not-repeated $W 'self.replaced.as_ref() == Some(shown)' 'false && self.replaced.as_ref() == Some(shown)'
mutant late-beginning-not-repeated $W 'proven && self.is_unread' 'false && proven && self.is_unread'
mutant copy-takes-the-token $M 'if *why == NewReason::StateConflict {' 'if false {'
mutant plain-passes-acked conn/outgoing.rs 'is_some_and(crate::session::Session::is_waiting)' 'is_some_and(|_| false)'
mutant begin-not-noted conn/incoming.rs 'session.begin(message.acked);' 'let _ = session;'
mutant duplicate-keeps-credit conn/incoming.rs 'self.give_credit_back(&message.held());
                Ok(None)' 'Ok(None)'
mutant invalid-comes-again conn/incoming.rs 'session.settle(tag.acked, Outcome::Failed(notice.code()));' 'let _ = session;'

echo
if [[ ${#survived[@]} -gt 0 ]]; then
  echo "survived: ${survived[*]}"
  exit 1
fi
