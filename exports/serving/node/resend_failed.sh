#!/bin/sh
# Sends again what Orthanc could not send while the node was down: Orthanc itself tries once.
# Run it every few minutes, by cron for instance:  resend_failed.sh http://127.0.0.1:8042
set -eu
orthanc=${1:-http://127.0.0.1:8042}
curl -fsS "$orthanc/jobs?expand" | python3 -c '
import json, sys
for job in json.load(sys.stdin):
    if job["Type"] == "DicomModalityStore" and job["State"] == "Failure":
        print(job["ID"])
' | while read -r job; do
  curl -fsS -X POST -d "" "$orthanc/jobs/$job/resubmit" >/dev/null
done
