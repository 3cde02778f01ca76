#!/usr/bin/env bash
# make-secrets.sh FOLDER: the secrets of the demo's corp, made once. They are good for the simulator
# and for nothing else. Services refuse files that others may read, so a checkout cannot hold them.
set -euo pipefail
umask 077
cd "$1"

CORP=wwdemo0123456789ab
AGENT=1000002

main() {
  [[ ! -e corps.json ]] || { echo "the demo's secrets are there"; return; }
  text 43 >"secret-$AGENT"
  text 43 >"aes-$AGENT"
  text 24 >"token-$AGENT"
  cat >corps.json.new <<TEXT
{"corps": [{"corp_id": "$CORP", "apps": [{"agent_id": "$AGENT",
  "secret_file": "secret-$AGENT", "token": "$(<"token-$AGENT")", "aes_key_file": "aes-$AGENT"}]}]}
TEXT
  mv corps.json.new corps.json
  echo "made the demo's secrets"
}

# So many letters and digits.
text() {
  local all
  all=$(head -c 4096 /dev/urandom | tr -dc 'A-Za-z0-9')
  echo "${all:0:$1}"
}

main
