#!/usr/bin/env bash
# Runs the examples that need a second terminal against each other on the loopback: make_certificates, ping_service on
# a free port, discover, ping_client and timeline; and a station without a chip, which its service does not want back.
# Takes the folder of the built examples. Everything is bounded in time; the services are stopped at the end.
set -euo pipefail

case ${1:-} in
  '') echo "which folder holds the built examples? (--help)" >&2; exit 2 ;;
  -h | --help) sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit ;;
esac
cd -- "$1"

folder=$(mktemp -d)
services=()
clean() {
  # By their ids, and only what was started here.
  local service
  for service in "${services[@]}"; do
    kill "$service" 2>/dev/null || true
    wait "$service" 2>/dev/null || true
  done
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

# Runs a service in the background; its address is in `address` then.
serves() { # LOG COMMAND...
  local log=$folder/$1
  shift
  timeout 120 "$@" </dev/null >"$log" 2>&1 &
  services+=("$!")
  address=
  for _ in {1..100}; do
    address=$(sed -n 's/.* listens on \([0-9.:]*\);.*/\1/p' "$log")
    [[ -z $address ]] || return 0
    kill -0 "${services[-1]}" 2>/dev/null || break
    sleep 0.1
  done
  fail "the service does not listen: $(<"$log")"
}

# Runs a client twenty times that its service does not want back: it must fail each time, and say so on standard error.
stays_away() { # COMMAND...
  local error code
  echo "+ $*, 20 times"
  for _ in {1..20}; do
    code=0
    error=$(timeout 20 "$@" 2>&1 >/dev/null) || code=$?
    [[ $code -eq 1 ]] || fail "exit code $code (124: still running after 20 s): $error"
    [[ $error == *"it is retired"* ]] || fail "it does not say why: $error"
  done
  echo "$error"
}

shows ca.pem ./make_certificates "$folder" --client alice --client bob --client carol
for bad in service ca a/b ../a; do
  refuses "cannot be the name of a client" ./make_certificates "$folder" --client "$bad"
done
refuses "neither a DNS name nor an IP address" ./make_certificates "$folder" --service-name "bad name"

serves ping_service.log ./ping_service --folder "$folder" --listen 127.0.0.1:0 --news 1 --retired carol

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
stays_away ./ping_client "$address" --folder "$folder" --name carol
stays_away ./discover "$target" --folder "$folder" --name carol watch

serves agent_service.log ./agent_service --folder "$folder" --listen 127.0.0.1:0 --retired carol
stays_away ./agent_host "$address" --folder "$folder" --name carol
