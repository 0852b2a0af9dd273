// Missions without Python: `npm ci && node missions.mjs "/run echo text=hi"`. Needs a running `missions up`.
// What is said on which subject is in contracts/asyncapi.yaml, each message in contracts/schema/.
import { randomUUID } from "node:crypto";
import { AckPolicy, DeliverPolicy, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";

const natsUrl = process.env.NATS_URL ?? "nats://127.0.0.1:4222";
const whiteboardUrl = process.env.WHITEBOARD_URL ?? "http://127.0.0.1:8080";
const conversation = "node";
const terminal = new Set(["completed", "failed", "cancelled", "rejected"]);

const show = (how, record) => console.log(`${how.padEnd(8)} ${record.status.padEnd(9)} ${record.reason}`.trimEnd());

// Live: core NATS, at most once. Good for a light that blinks, not for what must not be missed.
function followLive(nats, eventId) {
  nats.subscribe("missions.status", {
    callback: (_error, message) => {
      const record = message.json();
      if (record.causation_id === eventId) show("live", record);
    },
  });
}

// Durable: the consumer remembers where this program was, and what it did not acknowledge comes again.
async function followDurably(nats, eventId) {
  const durable = "node-example";
  const manager = await jetstreamManager(nats);
  await manager.consumers.add("MISSIONS", {
    durable_name: durable,
    filter_subject: "missions.status.>",
    deliver_policy: DeliverPolicy.New, // of the first start; later ones go on where the last one ended
    ack_policy: AckPolicy.Explicit,
  });
  const consumer = await jetstream(nats).consumers.get("MISSIONS", durable);
  return async () => {
    for await (const message of await consumer.consume()) {
      const record = message.json();
      message.ack();
      if (record.causation_id !== eventId) continue;
      show("durable", record);
      if (terminal.has(record.status)) return record.mission_id;
    }
  };
}

// The same id in the same conversation is the same mission, so that a publish without an answer may be repeated.
async function say(nats, eventId, text) {
  const event = { id: eventId, conversation, sender: "node", text };
  const options = { msgID: `${conversation}/${eventId}` };
  await jetstream(nats).publish(`chat.events.${conversation}`, JSON.stringify(event), options);
}

const nats = await connect({ servers: natsUrl });
const eventId = randomUUID();
followLive(nats, eventId);
const outcome = await followDurably(nats, eventId);
await say(nats, eventId, process.argv[2] ?? "/run echo text=hi");
const missionId = await outcome();
const answer = await fetch(`${whiteboardUrl}/missions/${missionId}?wait=10`);
console.log(`result   ${JSON.stringify((await answer.json()).result)}`);
await nats.close();
