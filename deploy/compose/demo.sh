#!/usr/bin/env bash
# A small campaign, from the first callback to the last confirmed message; prints the report.
# Environment: SIMULATOR (host:port), CALLBACK (host:port of ingestion), SECRETS (the folder of
# make-secrets.sh), TIDEGATE_GRPC (see `tidegate --help`). Writes to /tmp. Exit code 0: every customer of the audience has a final state and no call was
# refused for being one too many.
set -euo pipefail

CORP=wwdemo0123456789ab
AGENT=1000002
# A run of its own each time: the log may remember earlier ones.
CAMPAIGN=spring-$(date +%Y%m%d-%H%M%S)
MEMBERS=20
CUSTOMERS=400
ADDED=60
SECRETS=${SECRETS:-/run/tidegate}
WORK=/tmp

main() {
  local simulator=http://${SIMULATOR:?}
  seed
  say "the simulated WeCom at $simulator knows the corp, $MEMBERS members and $CUSTOMERS customers"
  tidegate_quietly channel add --corp "$CORP" --id fair --state fair --tag channel_fair \
    --welcome 'Welcome! We met at the fair.'
  tidegate_quietly rule add --corp "$CORP" --id vip --on order_paid --when 'orders.sum >= 500.00' \
    --tag vip
  post /control/add_customers "$(added)" >"$WORK/answer"
  say "$ADDED new customers come by the channel code"
  tidegate import customers "$WORK/customers.csv" --corp "$CORP"
  purchases >"$WORK/purchases.csv"
  tidegate import purchases "$WORK/purchases.csv" --format csv --corp "$CORP"
  tidegate segment count 'orders.count >= 2' --corp "$CORP"
  campaign
  settle
  say "the report of $CAMPAIGN:"
  tidegate campaign report --corp "$CORP" --id "$CAMPAIGN" --output json
  tidegate quota list --corp "$CORP"
  check_limits
}

say() { echo "demo: $*" >&2; }

# The client waits for services that are still starting.
tidegate() { command tidegate --wait 120 "$@"; }

tidegate_quietly() { tidegate --quiet --output json "$@" >"$WORK/answer"; }

seed() {
  local customers=() members=() number owner customer
  echo external_userid,owner >"$WORK/customers.csv"
  for ((number = 0; number < MEMBERS; number++)); do members+=("\"$(member "$number")\""); done
  for ((number = 1; number <= CUSTOMERS; number++)); do
    owner=$(member "$number")
    customer=$(customer "$number")
    customers+=("{\"external_userid\":\"$customer\",\"member\":\"$owner\"}")
    echo "$customer,$owner" >>"$WORK/customers.csv"
  done
  post /control/seed "{\"corp_id\":\"$CORP\",\"apps\":[{\"agent_id\":\"$AGENT\",
    \"secret\":\"$(<"$SECRETS/secret-$AGENT")\",\"token\":\"$(<"$SECRETS/token-$AGENT")\",
    \"aes_key\":\"$(<"$SECRETS/aes-$AGENT")\",
    \"callback_url\":\"http://${CALLBACK:?}/callback/$CORP/$AGENT\"}],
    \"members\":[$(list "${members[@]}")],\"tags\":[\"vip\",\"channel_fair\"],
    \"customers\":[$(list "${customers[@]}")]}" >"$WORK/answer"
}

member() { printf 'm%03d' "$(($1 % MEMBERS))"; }
customer() { printf 'wm%030d' "$1"; }

# The customers who come while it runs; new ones in each run.
added() {
  local rows=() number first
  first=$(date +%s)
  for ((number = 0; number < ADDED; number++)); do
    rows+=("{\"external_userid\":\"$(printf 'wm9%029d' "$((first * 1000 + number))")\",
      \"member\":\"$(member "$number")\",\"state\":\"fair\"}")
  done
  echo "{\"corp_id\":\"$CORP\",\"customers\":[$(list "${rows[@]}")],\"per_second\":25}"
}

# Every customer bought once, half of them twice, each tenth for more than 500.
purchases() {
  local number day amount
  day=$(date +%Y-%m-%d)
  echo customer,order_id,paid_time,amount
  for ((number = 1; number <= CUSTOMERS; number++)); do
    amount=49.90
    ((number % 10)) || amount=520.00
    echo "$(customer "$number"),first-$number,$day,$amount"
    ((number % 2)) || echo "$(customer "$number"),second-$number,$day,19.90"
  done
}

campaign() {
  local which=(--corp "$CORP" --id "$CAMPAIGN")
  local what=(--audience 'orders.count >= 2'
    --variant 'Spring is here|https://shop.example/spring?v=a|Spring offers'
    --variant 'A spring present is waiting|https://shop.example/spring?v=b|Spring offers')
  say "the plan of $CAMPAIGN:"
  tidegate campaign create "${which[@]}" "${what[@]}" --validate-only
  tidegate_quietly campaign create "${which[@]}" "${what[@]}"
  tidegate_quietly campaign launch "${which[@]}"
  say "launched; members confirm after 6 s on average"
  tidegate campaign watch "${which[@]}" --timeout 240
}

# Until the simulator has delivered every callback.
settle() {
  local status tries
  for ((tries = 0; tries < 60; tries++)); do
    status=$(get /control/status)
    [[ $status != *'"pending":0'* ]] || return 0
    sleep 1
  done
  say "callbacks are still waiting after 60 s: $status"
  return 1
}

# 45009 is WeCom's answer to a call too many.
check_limits() {
  local status
  status=$(get /control/status)
  if [[ $status == *45009* ]]; then
    say "the simulator refused calls as too many: $status"
    return 1
  fi
  say "no call was refused for being one too many"
}

list() {
  local IFS=,
  echo "$*"
}

# HTTP by the shell itself, so that the image needs no further program for one demo.
post() { http POST "$1" "$2"; }
get() { http GET "$1" ''; }

http() {
  local method=$1 path=$2 body=$3 code line length=0 answer
  # Bytes, not letters.
  local LC_ALL=C
  exec 3<>"/dev/tcp/${SIMULATOR%:*}/${SIMULATOR##*:}"
  printf '%s %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n' \
    "$method" "$path" "$SIMULATOR" >&3
  printf 'Content-Length: %d\r\nConnection: close\r\n\r\n%s' "${#body}" "$body" >&3
  read -r _ code _ <&3
  while IFS= read -r line <&3 && [[ $line != $'\r' ]]; do
    [[ ${line,,} != content-length:* ]] || length=$(tr -dc 0-9 <<<"$line")
  done
  IFS= read -r -d '' -N "$length" answer <&3 || true
  exec 3>&-
  if [[ $code != 200 ]]; then
    say "$method $path answers $code: $answer"
    return 1
  fi
  echo "$answer"
}

main
