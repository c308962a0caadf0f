#!/usr/bin/env bash
# Breaks the bookkeeping of sessions and of the halves on purpose, one small thing at a time, and says which tests notice.
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
MODULES=(session/mod.rs session/welcome.rs session/meeting.rs session/sending.rs session/receiving.rs session/record.rs session/work.rs
  store.rs conn/incoming.rs conn/outgoing.rs conn/sessions.rs conn/pending.rs conn/halves.rs drive/rx.rs drive/schedule.rs)

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

S=session/sending.rs R=session/receiving.rs M=session/meeting.rs W=session/welcome.rs

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
mutant received-not-rolled-back $R 'if !self.inbox.is_durable() {
            let above' 'if false {
            let above'
mutant durable-rolled-back $R 'if !self.inbox.is_durable() {
            let above' 'if true {
            let above'
mutant running-handler-rolled-back $R 'self.forget_above(self.processed.max(self.begun).max(self.waits))' 'self.forget_above(self.processed.max(self.waits))'
mutant outcome-not-in-claim $R 'told_since(&self.failed, 0, processed)' 'told_since(&self.failed, 0, 0 * processed)'
mutant outcomes-never-confirmed $R '|failure| failure.number > number' '|failure| failure.number > 0 * number'
mutant outcome-of-another $S 'failure.number -= told;' 'failure.number -= 0 * told;'
mutant skip-not-counted $R 'self.arriving.checked_add(count)?' 'self.arriving.checked_add(0 * count)?'
mutant settled-twice $R 'if number <= self.processed || number > self.received {
            return true;' 'if number > self.received {
            return true;'
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
mutant claim-of-sender-not-checked $M 'self.receiving.agrees(sender)' 'self.receiving.agrees(sender) || true'
mutant claim-of-receiver-not-checked $M 'self.sending.agrees(taker)' 'self.sending.agrees(taker) || true'
mutant token-not-checked $W 'current.any(|token| token == shown)' 'current.any(|_| true)'
mutant token-not-rotated $W '        self.token = Some(token);' '        let _ = token;'
mutant shown-token-not-kept $W 'self.shown.former = Some(*shown);' 'self.shown.former = None;'
mutant old-token-valid-for-ever $M '        self.shown.forget();
        self.receiving.confirm' '        self.receiving.confirm'
mutant proof-not-asked $W 'let begins = proven ||' 'let begins = true ||'
mutant late-attempt-taken $W 'trid < self.shown.newest' 'trid < self.shown.newest && false'
mutant lost-beginning-not-repeated $W 'if is_unread && self.has_replaced' 'if false && self.has_replaced'
mutant late-beginning-not-repeated $W 'if is_unread && proven {' 'if false && is_unread && proven {'
mutant copy-takes-the-token $M 'if *why == NewReason::StateConflict {' 'if false {'
mutant plain-passes-acked conn/outgoing.rs 'is_some_and(crate::session::Session::is_waiting)' 'is_some_and(|_| false)'
mutant begin-not-noted conn/halves.rs 'self.begin(acked.number);' 'let _ = acked;'
mutant duplicate-keeps-credit conn/incoming.rs 'self.give_credit_back(&message.held());
                Ok(None)' 'Ok(None)'
mutant invalid-comes-again conn/incoming.rs 'session.settle(tag.acked, Outcome::Failed(fault.code()));' 'let _ = session;'

K=session/work.rs X=drive/rx.rs H=drive/schedule.rs

mutant dropped-loan-is-ok $K '            State::Lent | State::Waits => End::Abandoned,' '            State::Lent | State::Waits => End::Ok,'
mutant retry-takes-it-out $K '            self.retry = Some(Retry { at, attempts });
        } else if job.queued {' '            self.retry = Some(Retry { at, attempts });
        }
        if job.queued {'
mutant retry-at-once $K 'self.job.is_some() || self.retry.is_some_and(|retry| retry.at > now)' 'self.job.is_some() || self.retry.is_some_and(|retry| retry.at > now && false)'
mutant handled-stays $K '        } else if job.queued {' '        } else if job.queued && job.of != Of::Link {'
mutant forgets-one-too-many $K 'acked.number > above.number' 'acked.number >= above.number'
mutant expiry-keeps-plain $K 'self.retain(|at, meta| at >= old || meta.acked.is_some())' 'self.retain(|at, _| at >= old || true)'
mutant waiting-handler-without-its-message $K 'self.job.queued = self.stay();' 'let _ = self.stay();'
mutant plain-lost-at-every-end $K '        if goes_on {' '        if goes_on && false {'
mutant plain-kept-at-our-end $K 'self.retain(|at, meta| at < rest || meta.acked.is_some())' 'self.retain(|_, _| rest < usize::MAX)'
mutant job-of-a-link-that-is-over-costs-the-next $K '            job.of = Of::Over;' '            job.of = Of::Link;'
mutant passes-what-waits $X '        && work.is_empty()
' '        && !work.has_job()
'
mutant two-at-a-time $X '    if lends
        && work.is_empty()
' '    if (lends || work.has_job())
'
mutant end-forgets-nothing-in-the-session $X '        if let Some(above) = tx.conn.waits_through(waits) {' '        let _ = waits;
        if let Some(above) = None::<Acked> {'
mutant completes-nothing $X '            tx.conn.complete(&completed);
        }
        if core' '            let _ = completed;
        }
        if core'
mutant end-before-its-messages $H '        if work.has_rest() {
            return Next::Messages;
        }' ''
mutant link-before-the-end-of-another $H '        if let Some(ended) = self.ended.take() {
            self.until' '        if self.opened.is_none() && let Some(ended) = self.ended.take() {
            self.until'
mutant link-beside-a-handler $H 'if self.held || work.has_job() {' 'if self.held {'

echo
if [[ ${#survived[@]} -gt 0 ]]; then
  echo "survived: ${survived[*]}"
  exit 1
fi
