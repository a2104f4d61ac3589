// Prefill/decode with a real agent, a real Envoy and simulated pods that move blocks as vLLM does.
import { afterEach, expect, test } from "vitest";
import { type ReplayFile, replay } from "../../agent/decisions/replay.js";
import { Fleet, MODEL } from "../../demo/fleet.js";
import { waitFor } from "../../demo/processes.js";
import { Words } from "../../demo/workload.js";
import { seeded } from "../../simulate/random.js";

const words = new Words();
const random = seeded(11);
let fleet: Fleet;
afterEach(async () => {
  await fleet?.stop();
});

async function start(
  podFlags: Record<string, string | number> = {},
  mode: "gateway" | "sidecar" = "gateway",
): Promise<void> {
  fleet = await Fleet.create({
    pods: 2,
    blocks: 4096,
    timeScale: 8,
    role: (i) => (i === 0 ? "prefill" : "decode"),
    policy: {
      disaggregation: { mode, split: "always", threshold: 64 },
      decisions: { sampleRate: 1 },
    },
    podFlags,
    sidecars: mode === "sidecar",
  });
  await fleet.start();
}

const ask = async (port: number, body: object, path = "/v1/chat/completions") => {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ model: MODEL, max_tokens: 16, ignore_eos: true, ...body }),
  });
  return { response, text: await response.text() };
};
const textOf = (json: string) => {
  const { choices } = JSON.parse(json) as { choices: { text?: string; message?: { content: string } }[] };
  return choices[0]!.text ?? choices[0]!.message!.content;
};
/** Text of a streamed answer. */
const streamedText = (sse: string) =>
  sse
    .split("\n\n")
    .filter((event) => event.startsWith("data: {"))
    .map((event) => JSON.parse(event.slice(6)).choices[0])
    .map((choice) => choice?.text ?? choice?.delta?.content ?? "")
    .join("");

/** Replays what the agent recorded: `splits` pairs of prefill and decode pod come out the same again. */
async function pairsReplayed(splits: number): Promise<void> {
  let report = await replay({ decisions: [], programs: {} });
  const pairs = () => report.decisions.filter(({ pair }) => pair?.recorded.splits);
  await waitFor("a record of each split", async () => {
    const url = `http://127.0.0.1:${fleet.agentPort}/api/v1/decisions?limit=1000&replay=true`;
    report = await replay((await (await fetch(url)).json()) as ReplayFile);
    return pairs().length >= splits;
  });
  const address = (i: number) => fleet.addresses((role) => role === (i === 0 ? "prefill" : "decode"))[0]!;
  for (const { outcome, why, pair } of pairs()) {
    expect([outcome, why]).toEqual(["same", ""]);
    expect(pair!.again).toEqual({ splits: true, prefills: [address(0)], decode: address(1) });
  }
}

test.each(["gateway", "sidecar"] as const)(
  "by the %s the decode pod gives the prefill pod's own text, streamed and not, and computes none of the prompts",
  async (by) => {
    await start({}, by);
    const [prefill] = fleet.pods;
    for (let i = 0; i < 12; i++) {
      const prompt = words.text(400, random);
      const chat = i % 2 === 0;
      const body = chat ? { messages: [{ role: "user", content: prompt }] } : { prompt };
      const path = chat ? "/v1/chat/completions" : "/v1/completions";
      const stream = i % 4 > 1;
      const split = await ask(fleet.gatewayPort, { ...body, stream }, path);
      expect(split.response.status).toBe(200);
      expect(split.response.headers.get("x-prefill-pod")).toBe("pod-0");
      expect(split.response.headers.get("x-prefill-time-ms")).toMatch(/^\d+(\.\d+)?$/);
      expect(split.response.headers.get("x-sim-pod")).toBe("pod-1");
      const alone = await ask(prefill!.port, body, path);
      expect(stream ? streamedText(split.text) : textOf(split.text)).toBe(textOf(alone.text));
    }
    const [first, second] = await fleet.podStats();
    expect(second!.externalTokens).toBe(second!.promptTokens);
    expect(first!.heldBlocks).toBe(0);
    await pairsReplayed(12);
  },
);

test("blocks that expire before they are pulled: the answer is right, and the agent says that it was computed anew", async () => {
  await start({ "kv-hold-ms": 1, "kv-load-failure": "recompute" });
  const metric = async () => {
    const page = await (await fetch(`http://127.0.0.1:${fleet.agentPort}/metrics`)).text();
    return Number(/warmgate_transfer_recomputed_tokens_total\{[^}]*\} (\d+)/.exec(page)?.[1] ?? 0);
  };
  await expect
    .poll(
      async () => {
        const { response } = await ask(
          fleet.gatewayPort,
          { prompt: words.text(1200, random) },
          "/v1/completions",
        );
        expect(response.status).toBe(200);
        return metric();
      },
      { timeout: 90_000, interval: 300 },
    )
    .toBeGreaterThan(0);
  const ready = await (await fetch(`http://127.0.0.1:${fleet.agentPort}/readyz`)).text();
  expect(ready).toContain("decode_recomputed");
});
