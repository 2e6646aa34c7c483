// Message batches by the @anthropic-ai/sdk package.
import assert from "node:assert/strict";
import test from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import { KEY, MODEL, URL, until } from "./shared.mjs";

const ai = new Anthropic({ baseURL: URL, apiKey: KEY });

function asked(name, params = {}) {
  const messages = [{ role: "user", content: `say ${name}` }];
  return { custom_id: name, params: { model: MODEL, max_tokens: 32, messages, ...params } };
}

async function ended(batch) {
  return until(async () => {
    const now = await ai.messages.batches.retrieve(batch.id);
    return now.processing_status === "ended" && now;
  }, "the batch's end");
}

test("a batch runs to its results, in order", async () => {
  const names = Array.from({ length: 10 }, (_, index) => `r${index + 1}`);
  const batch = await ai.messages.batches.create({ requests: names.map((name) => asked(name)) });
  assert.equal(batch.processing_status, "in_progress");
  const done = await ended(batch);
  assert.equal(done.request_counts.succeeded, 10);
  const results = [];
  for await (const one of await ai.messages.batches.results(batch.id)) results.push(one);
  assert.deepEqual(results.map((one) => one.custom_id), names);
  assert.ok(results[0].result.message.content[0].text);
});

test("a batch is cancelled, listed and deleted", async () => {
  const requests = Array.from({ length: 500 }, (_, index) => asked(`r${index}`));
  const batch = await ai.messages.batches.create({ requests });
  const cancelled = await ai.messages.batches.cancel(batch.id);
  assert.ok(["canceling", "ended"].includes(cancelled.processing_status));
  const done = await ended(batch);
  const counts = done.request_counts;
  assert.equal(counts.succeeded + counts.canceled + counts.errored + counts.expired, 500);
  const listed = [];
  for await (const one of ai.messages.batches.list({ limit: 1 })) {
    listed.push(one.id);
    if (listed.length === 3) break;
  }
  assert.ok(listed.includes(batch.id));
  const deleted = await ai.messages.batches.delete(batch.id);
  assert.equal(deleted.type, "message_batch_deleted");
});

test("errors have their class, and name the request", async () => {
  await assert.rejects(
    ai.messages.batches.create({ requests: [asked("a"), asked("a")] }),
    (error) => error instanceof Anthropic.BadRequestError && /requests\.1\./.test(error.message),
  );
  await assert.rejects(ai.messages.batches.retrieve("msgbatch_nothing"), Anthropic.NotFoundError);
});
