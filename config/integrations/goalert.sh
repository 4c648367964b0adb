#!/bin/sh
# What posts to GoAlert's generic endpoint needs callout's address and the integration's key only.
# Raises an alert; with action=close it is resolved.
CALLOUT=${CALLOUT:-http://127.0.0.1:9000}
KEY=${KEY:-put-the-key-of-the-integration-here}
exec curl --fail --silent --show-error "$CALLOUT/api/v2/generic/incoming?token=$KEY" \
    --data-urlencode "summary=${1:-The disk of db-3 is nearly full}" \
    --data-urlencode "dedup=${2:-db-3/disk}" \
    --data-urlencode "action=${3:-}"
