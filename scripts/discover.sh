#!/usr/bin/env bash
# Runs the examples that need a second terminal against each other on the loopback: make_certificates, ping_service on
# a free port, discover, ping_client and timeline. Takes the folder of the built examples. Everything is bounded in time; the
# service is stopped at the end.
set -euo pipefail

case ${1:-} in
  '') echo "which folder holds the built examples? (--help)" >&2; exit 2 ;;
  -h | --help) sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit ;;
esac
cd -- "$1"

folder=$(mktemp -d)
service=
clean() {
  # By its id, and only what was started here.
  if [[ -n $service ]]; then kill "$service" 2>/dev/null || true; wait "$service" 2>/dev/null || true; fi
  rm -rf "$folder"
}
trap clean EXIT

fail() {
  echo "FAILED: $*"
  exit 1
}

# Runs a program that must succeed, or fail; what it prints must hold this text.
shows() { outcome 0 "$@"; }
refuses() { outcome 1 "$@"; }
outcome() { # EXIT_CODE TEXT COMMAND...
  local wanted=$1 text=$2 output code=0
  shift 2
  echo "+ $*"
  output=$(timeout 20 "$@" 2>&1) || code=$?
  echo "$output"
  [[ $code -eq $wanted ]] || fail "exit code $code (124: still running after 20 s)"
  [[ $output == *"$text"* ]] || fail "it does not say: $text"
}

shows ca.pem ./make_certificates "$folder"
for bad in service ca a/b ../a; do
  refuses "cannot be the name of a client" ./make_certificates "$folder" --client "$bad"
done
refuses "neither a DNS name nor an IP address" ./make_certificates "$folder" --service-name "bad name"

timeout 120 ./ping_service --folder "$folder" --listen 127.0.0.1:0 --news 1 >"$folder/service.log" 2>&1 &
service=$!
address=
for _ in {1..100}; do
  address=$(sed -n 's/.* listens on \([0-9.:]*\);.*/\1/p' "$folder/service.log")
  [[ -z $address ]] || break
  kill -0 "$service" 2>/dev/null || break
  sleep 0.1
done
[[ -n $address ]] || fail "the service does not listen: $(<"$folder/service.log")"

target=$address/Framework/PingPong
discover=(./discover "$target" --folder "$folder")
shows "you send   Ping { id: i64 }" "${discover[@]}"
shows 'Pong {"id":7}' "${discover[@]}" send Ping '{"id": 7}' --wait 2000
shows 'News {"text":"' "${discover[@]}" watch --count 1
shows 'Pong {"id":8}' "${discover[@]}" --name bob --server-name localhost --arg room=7 send Ping '{"id": 8}' --wait 2000
refuses "got the text" "${discover[@]}" send Ping '{"id": "x"}'
refuses "twice" "${discover[@]}" send Ping '{"id": 7, "id": 8}'
refuses "after the value" "${discover[@]}" send Ping '{"id": 7} 8'
refuses "got null" "${discover[@]}" send Ping null
refuses "does it speak TLS" ./discover "$target" --plain
refuses "make_certificates" ./discover "$target" --folder "$folder/nothing"
shows "Pong 2" ./ping_client "$address" --folder "$folder" --count 3 --interval 10 --record "$folder/logs"
shows "bytes identical" ./timeline "$folder"/logs/*.disetlog
