// Prefill/decode with two real vLLM servers whose KV blocks move over NIXL, through Envoy: split by the filter, and by
// the sidecar that the filter names the prefill pod to. The text must be the prefill server's own.
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { request } from "undici";
import { packageRoot } from "../../agent/package-root.js";
import { freePorts } from "../../demo/ports.js";
import { startSidecar, waitFor } from "../../demo/processes.js";
import { seeded } from "../../simulate/random.js";

import { Engine } from "./engine.js";
import { Gateway } from "./gateway.js";
import { type Asked, askPrompt, controlPrompts, type Prompt, prompts } from "./transfer-prompts.js";

const PROMPTS = 50;
/** Share of the prompts' tokens that must come by transfer; vLLM computes the last one of each itself. */
const TRANSFERRED = 0.95;

interface WaySummary {
  /** Each prompt is asked twice, streamed and not. */
  requests: number;
  /** Answers that said which pod prefilled, or how long that took. */
  split: number;
  /** Answers whose text and token ids are the prefill server's own. */
  equal: number;
  promptTokens: number;
  /** Growth of the decode server's vllm:prompt_tokens_by_source_total, by source. */
  bySource: Record<string, number>;
}

interface TransferSummary {
  prompts: number;
  /** Whether another prompt's KV blocks of the same length gave another text: else equal texts would prove nothing. */
  wrongKvShows: boolean;
  gateway: WaySummary;
  sidecar: WaySummary;
}

type Say = (line: string) => void;

/** Tokens of prompts that the server computed, found or fetched since it started. */
async function promptTokens(engine: Engine): Promise<Record<string, number>> {
  const { body } = await request(`${engine.base}/metrics`);
  const page = await body.text();
  const rows = page.matchAll(/^vllm:prompt_tokens_by_source_total\{[^}]*source="(\w+)"[^}]*\} (\S+)$/gm);
  return Object.fromEntries([...rows].map((row) => [row[1]!, Number(row[2])]));
}

/** Asks every prompt, streamed and not, and compares with what the prefill server says to the same. */
async function playWay(
  way: "gateway" | "sidecar",
  gateway: Gateway,
  [prefill, decode]: [Engine, Engine],
  list: Prompt[],
  say: Say,
): Promise<WaySummary> {
  const before = await promptTokens(decode);
  const summary: WaySummary = { requests: 0, split: 0, equal: 0, promptTokens: 0, bySource: {} };
  for (const [i, prompt] of list.entries())
    for (const stream of [false, true]) {
      // The salt keeps the blocks of the same prompt apart, so that each request needs a transfer of its own.
      const asked: Asked = { prompt, stream, salt: `${way}-${stream}` };
      const split = await askPrompt(gateway.base, asked);
      const alone = await askPrompt(prefill.base, { ...asked, salt: `${way}-${stream}-alone` });
      summary.requests++;
      summary.promptTokens += split.promptTokens;
      const name = `prompt ${i} (${prompt.path}${stream ? ", streamed" : ""})`;
      if (way === "gateway" ? split.headers["x-prefill-pod"] : split.headers["x-prefill-time-ms"])
        summary.split++;
      else say(`  ${name} was not split: HTTP ${split.status} ${split.text.slice(0, 200)}`);
      if (split.status === 200 && split.text === alone.text && isDeepStrictEqual(split.ids, alone.ids))
        summary.equal++;
      else
        say(
          `  ${name}: HTTP ${split.status} ${JSON.stringify(split.text)}, alone ${JSON.stringify(alone.text)}`,
        );
    }
  const after = await promptTokens(decode);
  for (const [source, tokens] of Object.entries(after))
    summary.bySource[source] = tokens - (before[source] ?? 0);
  return summary;
}

/** Two prompts of the same length: the decode server is asked one with the other's blocks, and with its own. */
async function wrongKvShows(prefill: Engine, decode: Engine): Promise<boolean> {
  const [first, second] = controlPrompts();
  const blocksOf = async (prompt: Prompt) => {
    const given = await askPrompt(prefill.base, {
      prompt: { ...prompt, tokens: 1 },
      stream: false,
      salt: "control",
      transfer: {
        do_remote_decode: true,
        do_remote_prefill: false,
        remote_engine_id: null,
        remote_block_ids: null,
        remote_host: null,
        remote_port: null,
      },
    });
    if (!given.transfer) throw new Error("the prefill server gave no kv_transfer_params");
    return given.transfer;
  };
  const say = async (prompt: Prompt, salt: string, transfer: object) =>
    (await askPrompt(decode.base, { prompt, stream: false, salt, transfer })).text;
  // The first handshake between two servers gives up after 5 s, which a busy machine may need.
  await waitFor(
    "the first transfer",
    async () => {
      const { status } = await askPrompt(decode.base, {
        ...{ prompt: second, stream: false, salt: "first", transfer: await blocksOf(second) },
      });
      return status === 200;
    },
    undefined,
    120_000,
  );
  const own = await say(first, "own", await blocksOf(first));
  const other = await say(first, "other", await blocksOf(second));
  const alone = (await askPrompt(prefill.base, { prompt: first, stream: false, salt: "alone" })).text;
  if (own !== alone)
    throw new Error(`the control's own blocks give ${JSON.stringify(own)}, not ${JSON.stringify(alone)}`);
  return other !== alone;
}

/** Runs both ways. @throws when a server, the gateway or the sidecar does not come up. */
export async function playTransfers(
  home: string,
  folder: string,
  options: { blocks: number; seed: number },
  say: Say,
): Promise<TransferSummary> {
  mkdirSync(folder, { recursive: true });
  const modelFolder = join(folder, "model");
  execFileSync(join(home, "venv", "bin", "python"), [
    join(packageRoot(), "scripts", "vllm", "make-model.py"),
    modelFolder,
    ...["--template", "chatml"],
  ]);
  const ports = await freePorts(9);
  const sidecarPort = ports[8]!;
  const [prefill, decode] = (["kv_producer", "kv_consumer"] as const).map(
    (role, i) =>
      new Engine({
        ...{ name: role === "kv_producer" ? "prefill" : "decode", home, modelFolder, logs: folder },
        blocks: options.blocks,
        port: ports[i * 4]!,
        eventsPort: ports[i * 4 + 1]!,
        replayPort: ports[i * 4 + 2]!,
        transfer: { role, port: ports[i * 4 + 3]! },
      }),
  ) as [Engine, Engine];
  const engines = [prefill, decode];
  const events = engines.map((engine) => engine.events);
  const list = prompts(PROMPTS, seeded(options.seed));
  const roles: ("prefill" | "decode")[] = ["prefill", "decode"];
  try {
    say("prefill/decode: starting two vLLM servers with NIXL ...");
    await Promise.all(engines.map((engine) => engine.start()));
    const shows = await wrongKvShows(prefill, decode);
    const ways: Partial<Record<"gateway" | "sidecar", WaySummary>> = {};
    const prefillAddress = `127.0.0.1:${prefill.options.port}`;
    const allowlist = join(folder, "allowlist");
    writeFileSync(allowlist, `${prefillAddress}\n`);
    for (const way of ["gateway", "sidecar"] as const) {
      const sidecar =
        way === "sidecar" ? await startSidecar(sidecarPort, decode.options.port, allowlist) : null;
      let gateway: Gateway | null = null;
      try {
        gateway = await Gateway.start(join(folder, way), engines, events, {
          roles,
          policy: { disaggregation: { mode: way, split: "always" } },
          ...(sidecar ? { addresses: [prefillAddress, `127.0.0.1:${sidecarPort}`] } : {}),
        });
        const summary = await playWay(way, gateway, [prefill, decode], list, say);
        say(`prefill/decode by the ${way}: ${JSON.stringify(summary)}`);
        ways[way] = summary;
      } finally {
        await gateway?.stop();
        await sidecar?.stop();
      }
    }
    return { prompts: PROMPTS, wrongKvShows: shows, gateway: ways.gateway!, sidecar: ways.sidecar! };
  } finally {
    await Promise.all(engines.map((engine) => engine.stop()));
  }
}

/** What is wrong with a run, a line each; none when all is right. */
export function transferFaults(summary: TransferSummary): string[] {
  const faults = summary.wrongKvShows ? [] : ["another prompt's KV blocks gave the same text"];
  for (const way of ["gateway", "sidecar"] as const) {
    const { requests, split, equal, promptTokens, bySource } = summary[way];
    const fetched = bySource["external_kv_transfer"] ?? 0;
    if (split < requests) faults.push(`by the ${way} ${requests - split} of ${requests} were not split`);
    if (equal < requests) faults.push(`by the ${way} ${requests - equal} of ${requests} texts differ`);
    if (fetched < promptTokens * TRANSFERRED)
      faults.push(`by the ${way} ${fetched} of ${promptTokens} prompt tokens came by transfer`);
  }
  return faults;
}
