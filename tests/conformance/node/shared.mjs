// What the clients' tests share: where the server is, and how to wait.
export const { BACKBURNER_URL: URL, BACKBURNER_KEY: KEY, BACKBURNER_MODEL: MODEL } = process.env;

export async function until(look, what = "the condition") {
  const endsAt = Date.now() + 60_000;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > endsAt) throw new Error(`${what} did not come true`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export function aFile(count) {
  const lines = Array.from({ length: count }, (_, index) => ({
    custom_id: `r${index + 1}`,
    method: "POST",
    url: "/v1/chat/completions",
    body: { model: MODEL, messages: [{ role: "user", content: `say ${index + 1}` }] },
  }));
  return lines.map((line) => JSON.stringify(line) + "\n").join("");
}
