// Files, uploads, batches and background responses by the openai package of Node.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import test from "node:test";
import OpenAI, { toFile } from "openai";
import { KEY, MODEL, URL, aFile, until } from "./shared.mjs";

const ai = new OpenAI({ baseURL: `${URL}/v1`, apiKey: KEY });
const CHAT = "/v1/chat/completions";

async function aBatch(count, options = {}) {
  const file = await ai.files.create({
    file: await toFile(Buffer.from(aFile(count)), "in.jsonl"),
    purpose: "batch",
  });
  return ai.batches.create({
    input_file_id: file.id,
    endpoint: CHAT,
    completion_window: "24h",
    ...options,
  });
}

async function ended(batch) {
  return until(async () => {
    const now = await ai.batches.retrieve(batch.id);
    return ["completed", "failed", "expired", "cancelled"].includes(now.status) && now;
  }, "the batch's end");
}

test("a file is created, listed, read and deleted", async () => {
  const data = aFile(2);
  const file = await ai.files.create({
    file: await toFile(Buffer.from(data), "two.jsonl"),
    purpose: "batch",
    expires_after: { anchor: "created_at", seconds: 86400 },
  });
  assert.equal(file.status, "processed");
  assert.equal(file.expires_at, file.created_at + 86400);
  const listed = [];
  for await (const one of ai.files.list({ limit: 2 })) listed.push(one.id);
  assert.ok(listed.includes(file.id));
  assert.equal(await (await ai.files.content(file.id)).text(), data);
  assert.equal((await ai.files.delete(file.id)).deleted, true);
  await assert.rejects(ai.files.retrieve(file.id), OpenAI.NotFoundError);
});

test("an upload in parts becomes a file", async () => {
  const data = Buffer.from(aFile(50));
  const upload = await ai.uploads.create({
    bytes: data.length,
    filename: "big.jsonl",
    mime_type: "application/jsonl",
    purpose: "batch",
  });
  const parts = [];
  for (let start = 0; start < data.length; start += 4000) {
    const piece = await toFile(data.subarray(start, start + 4000), "part");
    parts.push((await ai.uploads.parts.create(upload.id, { data: piece })).id);
  }
  const done = await ai.uploads.complete(upload.id, { part_ids: parts });
  assert.equal(done.status, "completed");
  assert.equal(done.file.bytes, data.length);
});

test("a batch runs from its file to its output, in order", async () => {
  const done = await ended(await aBatch(10, { metadata: { team: "blue" } }));
  assert.equal(done.status, "completed");
  assert.deepEqual([done.request_counts.total, done.request_counts.completed], [10, 10]);
  const text = await (await ai.files.content(done.output_file_id)).text();
  const names = text.trimEnd().split("\n").map((line) => JSON.parse(line).custom_id);
  assert.deepEqual(names, Array.from({ length: 10 }, (_, index) => `r${index + 1}`));
});

test("a batch is cancelled, and found in the list", async () => {
  const batch = await aBatch(1000);
  const cancelled = await ai.batches.cancel(batch.id);
  assert.ok(["cancelling", "cancelled"].includes(cancelled.status));
  const listed = [];
  for await (const one of ai.batches.list({ limit: 1 })) {
    listed.push(one.id);
    if (listed.length === 3) break;
  }
  assert.ok(listed.includes(batch.id));
});

test("a background response is created, polled and deleted", async () => {
  const response = await ai.responses.create({ model: MODEL, input: "hello", background: true });
  const done = await until(async () => {
    const now = await ai.responses.retrieve(response.id);
    return now.status === "completed" && now;
  });
  assert.ok(done.output_text);
  await ai.responses.delete(response.id);
  await assert.rejects(ai.responses.retrieve(response.id), OpenAI.NotFoundError);
});

test("a batch's own URL is told, and the client believes it", async () => {
  const told = [];
  const server = createServer((request, answer) => {
    let body = "";
    request.on("data", (chunk) => (body += chunk));
    request.on("end", () => {
      told.push([body, request.headers]);
      answer.writeHead(200).end();
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    const made = await ai.post("/x-callback-secret", { body: {} });
    const callback_url = `http://127.0.0.1:${server.address().port}/`;
    const done = await ended(await aBatch(1, { callback_url }));
    await until(async () => told.length);
    const event = await ai.webhooks.unwrap(...told[0], made.signing_secret);
    assert.deepEqual([event.type, event.data.id], ["batch.completed", done.id]);
    const other = `whsec_${"A".repeat(44)}`;
    await assert.rejects(ai.webhooks.unwrap(...told[0], other), OpenAI.InvalidWebhookSignatureError);
  } finally {
    server.close();
  }
});

test("models are listed, and errors have their class", async () => {
  const names = [];
  for await (const model of ai.models.list()) names.push(model.id);
  assert.ok(names.includes(MODEL));
  await assert.rejects(ai.batches.retrieve("batch_nothing"), OpenAI.NotFoundError);
  const stranger = new OpenAI({ baseURL: `${URL}/v1`, apiKey: "wrong" });
  await assert.rejects(stranger.files.list(), OpenAI.AuthenticationError);
});
