// Prefill/decode through the captured gateway with our manifests applied: a real Envoy, a real agent, simulated pods.
import { afterEach, expect, test } from "vitest";
import { Fleet, MODEL } from "../../demo/fleet.js";
import { Words } from "../../demo/workload.js";
import { seeded } from "../../simulate/random.js";
import { ourGateway, runnable } from "./our-gateway.js";

const words = new Words();
const random = seeded(17);
let fleet: Fleet;
afterEach(async () => {
  await fleet?.stop();
});

/** Pods 0 and 1 prefill, 2 and 3 decode. */
async function start(mode: "gateway" | "sidecar"): Promise<void> {
  fleet = await Fleet.create({
    pods: 4,
    blocks: 4096,
    timeScale: 50,
    role: (i) => (i < 2 ? "prefill" : "decode"),
    policy: { disaggregation: { mode, split: "always", threshold: 64 } },
    sidecars: mode === "sidecar",
    configure: (options, folder) => runnable(ourGateway().gateway, options, folder),
  });
  await fleet.start();
}

async function ask(port: number, content: string, headers: Record<string, string> = {}) {
  const response = await fetch(`http://127.0.0.1:${port}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify({
      model: MODEL,
      messages: [{ role: "user", content }],
      max_tokens: 8,
      ignore_eos: true,
    }),
    signal: AbortSignal.timeout(60_000),
  });
  expect(response.status).toBe(200);
  const { choices } = (await response.json()) as { choices: { message: { content: string } }[] };
  return { headers: response.headers, text: choices[0]!.message.content };
}

test.each(["gateway", "sidecar"] as const)(
  "Istio's gateway splits by the %s: prefills spread over the prefill pods, the text is theirs, forged prefill pods are not asked",
  async (mode) => {
    await start(mode);
    const prefilled = new Set<string>();
    for (let i = 0; i < 8; i++) {
      const prompt = words.text(300, random);
      const split = await ask(fleet.gatewayPort, prompt, { "x-prefiller-host-port": "127.0.0.1:1" });
      const pod = split.headers.get("x-prefill-pod")!;
      expect(["pod-0", "pod-1"]).toContain(pod);
      expect(["pod-2", "pod-3"]).toContain(split.headers.get("x-sim-pod"));
      expect(split.headers.get("x-decode-pod")).toBe(split.headers.get("x-sim-pod"));
      const alone = await ask(fleet.pods.find(({ name }) => name === pod)!.port, prompt);
      expect(split.text).toBe(alone.text);
      prefilled.add(pod);
    }
    expect(prefilled.size).toBe(2);
    const stats = await fleet.podStats();
    for (const decode of stats.slice(2)) expect(decode.externalTokens).toBe(decode.promptTokens);
  },
);
