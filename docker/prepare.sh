#!/bin/sh
# Makes docker/state: secrets that only you may read, and folders for data. Run again it changes nothing that is there.
set -eu
umask 077
state="$(dirname "$0")/state"
secrets="$state/secrets"
mkdir -p "$secrets" "$state/postgres" "$state/store"

random() { head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n'; }

[ -s "$secrets/signing.key" ] || head -c 32 /dev/urandom > "$secrets/signing.key"
[ -s "$secrets/ray_token" ] || random > "$secrets/ray_token"
if [ ! -s "$secrets/postgres_password" ]; then
  random > "$secrets/postgres_password"
  printf '*:*:*:udair:%s\n' "$(cat "$secrets/postgres_password")" > "$secrets/pgpass"
fi
if [ ! -s "$secrets/aws_credentials" ]; then
  key="udair"
  secret="$(random)"
  printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n' "$key" "$secret" > "$secrets/aws_credentials"
  printf '{"identities": [{"name": "udair", "credentials": [{"accessKey": "%s", "secretKey": "%s"}], "actions": ["Admin"]}]}\n' \
    "$key" "$secret" > "$secrets/store.json"
fi
# Compose reads .env beside its file: containers run as you.
printf 'UDAIR_UID=%s\nUDAIR_GID=%s\n' "$(id -u)" "$(id -g)" > "$(dirname "$0")/.env"
echo "docker/state is ready. Next: docker compose -f docker/compose.yaml up --build"
