#!/bin/sh
# Photographs over a bad network, with curl and openssl alone (Termux, iSH, any POSIX shell):
# capture -> PUT with Content-Digest -> submit with Idempotency-Key -> long poll -> checked download.
#
#   M3R_URL=http://192.168.1.10:8000 M3R_KEY=m3r_… sh capture.sh photos/ result/
#
# Killed half way? It has printed "capture cap_…": run it again with M3R_CAPTURE=cap_… and nothing is sent or made twice.
set -eu

photos=${1:?usage: capture.sh PHOTOS OUT}
out=${2:?usage: capture.sh PHOTOS OUT}
url=${M3R_URL:-http://127.0.0.1:8000}
umask 077
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The key goes to curl in a file: the arguments of a process can be read by others.
: >"$work/curlrc"
[ -z "${M3R_KEY:-}" ] || printf 'header = "Authorization: Bearer %s"\n' "$M3R_KEY" >"$work/curlrc"

# ask ARGUMENTS…: send until there is an answer (curl tries again on its own when a connection breaks, and on 429 and 503,
# for as long as Retry-After says); the body lies in $work/body, the status in $status. Every request below may be repeated.
ask() {
  status=$(curl -sS -K "$work/curlrc" --connect-timeout 10 --speed-time 60 --speed-limit 1 \
    --retry 8 --retry-all-errors --retry-max-time 300 -o "$work/body" -D "$work/headers" -w '%{http_code}' "$@")
}

refuse() {
  echo "$1: $status $(cat "$work/body")" >&2
  exit 1
}

first() { # first NAME: the first text of this name in the JSON answer
  tr ',{' '\n\n' <"$work/body" | sed -n "s/^\"$1\":\"\([^\"]*\)\".*/\1/p" | head -n 1
}

capture=${M3R_CAPTURE:-}
if [ -z "$capture" ]; then
  ask -X POST "$url/v1/captures"
  [ "$status" = 201 ] || refuse "no capture"
  capture=$(first id)
fi
echo "capture $capture"

for photo in "$photos"/*; do
  case $photo in
  *.jpg | *.jpeg | *.JPG | *.JPEG | *.png | *.PNG | *.webp | *.heic | *.HEIC | *.tif | *.tiff) ;;
  *) continue ;;
  esac
  digest=$(openssl dgst -sha256 -binary "$photo" | openssl base64 -A)
  while :; do
    # 201: taken. 200: it was there. digest_mismatch: altered on its way, so once more.
    ask -T "$photo" -H "Content-Digest: sha-256=:$digest:" "$url/v1/captures/$capture/images/"
    [ "$(first code)" = digest_mismatch ] || break
  done
  case $status-$(first code) in
  200-* | 201-*) echo "sent $photo" ;;
  422-* | *-capture_frozen) echo "left out $photo: $(first detail)" >&2 ;; # no photograph, or its job is there already
  *) refuse "$photo" ;;
  esac
done

# The same key for the same capture: however often this is sent, one job.
ask -H "Idempotency-Key: $capture" -H "Content-Type: application/json" \
  -d "{\"capture_id\": \"$capture\", \"preset\": \"${M3R_PRESET:-balanced}\"}" "$url/v1/reconstructions"
while [ "$status" = 409 ] && [ "$(first code)" = request_in_flight ]; do
  sleep 2
  ask -H "Idempotency-Key: $capture" -H "Content-Type: application/json" \
    -d "{\"capture_id\": \"$capture\", \"preset\": \"${M3R_PRESET:-balanced}\"}" "$url/v1/reconstructions"
done
case $status in 200 | 202) ;; *) refuse "no job" ;; esac
job=$(first id)
echo "job $job"

ask "$url/v1/jobs/$job"
while :; do
  [ "$status" = 200 ] || [ "$status" = 304 ] || refuse "job $job"
  if [ "$status" = 200 ]; then
    state=$(first status)
    echo "$state $(first stage)"
    grep -q '"terminal":true' "$work/body" && break
    etag=$(sed -n 's/^[Ee][Tt][Aa][Gg]: *\([^[:cntrl:]]*\).*/\1/p' "$work/headers")
  fi
  ask -H "If-None-Match: $etag" "$url/v1/jobs/$job?wait=20" # answered as soon as anything is new
done
[ "$state" = succeeded ] || refuse "job $job"

ask "$url/v1/jobs/$job/artifacts"
[ "$status" = 200 ] || refuse "artifacts"
tr '{' '\n' <"$work/body" | sed -n 's/^"name":"\([^"]*\)".*"sha256":"\([0-9a-f]*\)".*/\2 \1/p' >"$work/list"
while read -r sha256 name; do
  case $name in */* | .*) echo "not saved: $name" >&2 && continue ;; esac
  part="$out/.$name.$sha256.part"
  for try in 1 2 3 4 5 6 7 8; do
    curl -sS -f -L -K "$work/curlrc" -C - -o "$part" "$url/v1/jobs/$job/artifacts/$name" || true
    [ "$(openssl dgst -sha256 -r "$part" 2>/dev/null | cut -c 1-64)" = "$sha256" ] && break
    sleep "$try"
  done
  if [ "$(openssl dgst -sha256 -r "$part" | cut -c 1-64)" != "$sha256" ]; then
    rm -f "$part"
    echo "$name: other bytes came than were promised" >&2
    exit 1
  fi
  mv "$part" "$out/$name"
  echo "saved $out/$name"
done <"$work/list"
