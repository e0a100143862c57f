#!/bin/sh
# Localisation with nothing but curl. Usage: localize.sh URL reference.jpg query.jpg [JOB_ID]     (M3R_KEY holds an API key)
set -eu
url=$1 reference=$2 query=$3 job=${4:-}
call() { curl -sS --fail-with-body ${M3R_KEY:+-H "Authorization: Bearer $M3R_KEY"} "$@"; }
id_of() { sed -n 's/^{"id":"\([^"]*\)".*/\1/p'; }

echo "1. Both photographs in one request:"
call -F "image=@$query" -F "references=@$reference" -F 'query={"deadline_ms": 30000}' "$url/v1/localize"; echo

echo "2. The reference kept, encoded once; queries send themselves alone:"
ref=$(call -H "Content-Type: image/jpeg" --data-binary "@$reference" "$url/v1/references?name=door" | id_of)
call -H "Content-Type: image/jpeg" --data-binary "@$query" "$url/v1/localize?reference_ids=$ref&deadline_ms=30000"; echo
call -X DELETE "$url/v1/references/$ref"

[ -n "$job" ] || exit 0
echo "3. In the scene of a finished job:"
map=$(call -H "Content-Type: application/json" -d "{\"job_id\": \"$job\"}" "$url/v1/maps" | id_of)
while call "$url/v1/maps/$map" | grep -q '"status":"building"'; do sleep 1; done
call -H "Content-Type: image/jpeg" --data-binary "@$query" "$url/v1/maps/$map/localize?deadline_ms=30000"; echo
