#!/usr/bin/env bash
# Makes the keys and signatures beside it anew, with OpenSSL and nothing of ours: so the verifier is not tested against itself.
# The private keys are thrown away. Usage: core/src/signature/samples/make.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
keys=$(mktemp -d)
trap 'rm -rf "$keys"' EXIT

digest_of() { printf 'sha256:%s' "$(printf '%s' "$1" | sha256sum | cut -d' ' -f1)"; }
payload() {
    printf '{"critical":{"identity":{"docker-reference":"registry.example/web"},"image":{"docker-manifest-digest":"%s"},"type":"cosign container image signature"},"optional":null}' "$1"
}
# KEY HASH TEXT SIGNATURE
sign() { openssl dgst "-$2" -sign "$keys/$1" "$3" | base64 -w0 >"$4"; }

openssl ecparam -name prime256v1 -genkey -noout -out "$keys/p256"
openssl ecparam -name prime256v1 -genkey -noout -out "$keys/stranger"
openssl ecparam -name secp384r1 -genkey -noout -out "$keys/p384"
openssl genpkey -algorithm ed25519 -out "$keys/ed25519"
openssl genrsa -out "$keys/rsa" 2048
for key in p256 stranger p384 ed25519 rsa; do openssl pkey -in "$keys/$key" -pubout -out "$key.pub"; done

image=$(digest_of "the image")
payload "$image" >payload.json
payload "$(digest_of "another image")" >other.json
payload "$image" | sed 's/cosign container/atomic container/' >bad-type.json
payload "$image" | sed 's/"type"/"not-after":"2020-01-01","type"/' >bad-critical.json
payload "$image" | sed 's/"docker-reference"/"tenant":"x","docker-reference"/' >bad-identity.json
payload latest >bad-digest.json
printf 'the image' >bad-json.json

sign p256 sha256 payload.json p256.sig
sign stranger sha256 payload.json stranger.sig
sign p384 sha256 payload.json p384.sig
sign p384 sha384 payload.json p384-sha384.sig
openssl pkeyutl -sign -inkey "$keys/ed25519" -rawin -in payload.json | base64 -w0 >ed25519.sig
for text in other bad-type bad-critical bad-identity bad-digest bad-json; do sign p256 sha256 "$text.json" "$text.sig"; done
