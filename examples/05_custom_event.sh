#!/usr/bin/env bash
# A chat event with goals of its own, from any language: curl is enough. Needs a running `missions up`.
# With the nats command line, the same body goes to a subject: nats pub chat.events.ops "$event"
set -euo pipefail

orchestrator=${ORCHESTRATOR_URL:-http://127.0.0.1:8081}
whiteboard=${WHITEBOARD_URL:-http://127.0.0.1:8080}
event_id=${1:-release-$(date +%s)}

# The same id in the same conversation is the same mission, however often it is sent.
event=$(cat <<JSON
{"id": "$event_id", "conversation": "ops", "sender": "ci", "title": "Release", "deadline_s": 60,
 "goals": [
   {"id": "build", "kind": "echo", "params": {"text": "built"}},
   {"id": "test", "kind": "fail", "params": {"times": 1}, "retry": {"max_attempts": 3, "backoff_s": 0.1}},
   {"id": "announce", "kind": "echo", "params": {"text": "released"}, "needs": ["build", "test"]}
 ]}
JSON
)

accepted=$(curl --fail --silent --show-error --data "$event" "$orchestrator/chat/integrated")
mission_id=$(sed 's/.*"mission_id":"\([a-z2-7]*\)".*/\1/' <<<"$accepted")
echo "accepted as $mission_id"

# Answers when the mission has its outcome, or after 30 seconds with what there is.
curl --fail --silent --show-error "$whiteboard/missions/$mission_id?wait=30"
echo

# Every record of it, as the journal has them.
curl --fail --silent --show-error "$whiteboard/missions/$mission_id/events"
echo
