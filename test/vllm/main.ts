// `npm run test:vllm`: are predictions true for real engines? Two vLLM servers, the agent, Envoy with the filter, four
// lanes of conversations; then the same with faults.
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadTokenBytes } from "../../agent/model/token-bytes.js";
import { packageRoot } from "../../agent/package-root.js";
import { freePorts } from "../../demo/ports.js";
import { killRunning, waitFor } from "../../demo/processes.js";
import { seeded } from "../../simulate/random.js";
import { GatewayClient } from "./client.js";
import { Engine, killEngines, MODEL_NAME } from "./engine.js";
import { Gateway } from "./gateway.js";
import { describe, type Judged, judge, summarize } from "./judge.js";
import { LossyProxy } from "./lossy-proxy.js";
import { readOptions, type Variant, type VllmOptions } from "./options.js";
import { type Played, Player } from "./play.js";
import { playTransfers, transferFaults } from "./transfer.js";
import { Witness } from "./witness.js";

const WANTED = { withinOneBlock: 0.99, withHits: 0.6, faults: 0.95 };
const LOSS = 0.2;
const PAUSE_MS = 1000;

const say = (line: string) => process.stderr.write(`${line}\n`);

/** Two engines of one variant, followed by a witness each. */
class Fleet {
  readonly witnesses = new Map<string, Witness>();

  private constructor(
    readonly variant: Variant,
    readonly folder: string,
    readonly engines: Engine[],
  ) {}

  static async start(variant: Variant, options: VllmOptions, home: string, folder: string): Promise<Fleet> {
    mkdirSync(folder, { recursive: true });
    const modelFolder = join(folder, "model");
    execFileSync(join(home, "venv", "bin", "python"), [
      join(packageRoot(), "scripts", "vllm", "make-model.py"),
      modelFolder,
      ...["--template", variant.template, ...(variant.bos ? ["--bos"] : [])],
    ]);
    const ports = await freePorts(6);
    const engines = [0, 1].map(
      (i) =>
        new Engine({
          ...{ name: `vllm-${i}`, home, modelFolder, blocks: options.blocks, logs: folder },
          port: ports[i * 3]!,
          eventsPort: ports[i * 3 + 1]!,
          replayPort: ports[i * 3 + 2]!,
        }),
    );
    const fleet = new Fleet(variant, folder, engines);
    try {
      await Promise.all(engines.map((engine) => engine.start()));
    } catch (error) {
      await fleet.stop();
      throw error;
    }
    for (const engine of engines)
      fleet.witnesses.set(engine.options.name, new Witness(engine.events, options.keep !== undefined));
    return fleet;
  }

  get tokenizer(): string {
    return join(this.folder, "model", "tokenizer.json");
  }

  async stop(): Promise<void> {
    await Promise.all([...this.witnesses.values()].map((witness) => witness.stop()));
    await Promise.all(this.engines.map((engine) => engine.stop()));
  }
}

/** No pauses, no faults: every request counts. */
async function plain(
  fleet: Fleet,
  requests: number,
  options: VllmOptions,
  random: () => number,
): Promise<Judged[]> {
  const table = await loadTokenBytes(fleet.tokenizer);
  const gateway = await Gateway.start(
    join(fleet.folder, "plain"),
    fleet.engines,
    fleet.engines.map((engine) => engine.events),
    { learnTokens: options.learnTokens },
  );
  const client = new GatewayClient(gateway.base);
  try {
    const player = new Player({ client, model: MODEL_NAME, requests, pauseMs: 0, random });
    return (await player.play(requests)).map((played) => judge(played, table, fleet.witnesses));
  } finally {
    await client.close();
    await gateway.stop();
  }
}

/** Lost messages all the time; between rounds a cache is reset and a pod restarts. */
async function faults(fleet: Fleet, requests: number, random: () => number): Promise<Judged[]> {
  const table = await loadTokenBytes(fleet.tokenizer);
  const endpoints = (await freePorts(2)).map((port) => `tcp://127.0.0.1:${port}`);
  const proxies = await Promise.all(
    fleet.engines.map((engine, i) => LossyProxy.start(engine.events, endpoints[i]!, random)),
  );
  let gateway: Gateway | null = null;
  let client: GatewayClient | null = null;
  const counted: Judged[] = [];
  const afterReset = new Set<string>();
  const count = (played: Played[]) => {
    // The engine announces a reset with its next events, so that its first request cannot be told.
    for (const one of played.sort((a, b) => a.answer.sentAt - b.answer.sentAt))
      if (!afterReset.delete(one.answer.pod)) counted.push(judge(one, table, fleet.witnesses));
  };
  try {
    gateway = await Gateway.start(join(fleet.folder, "faults"), fleet.engines, endpoints);
    client = new GatewayClient(gateway.base);
    for (const proxy of proxies) proxy.loss = LOSS;
    const player = new Player({ client, model: MODEL_NAME, requests, pauseMs: PAUSE_MS, random });
    const round = Math.ceil(requests / 4);
    count(await player.play(round));

    for (const engine of fleet.engines) {
      say(`  ${engine.options.name}: its prefix cache is reset`);
      await engine.resetCache();
      afterReset.add(engine.options.name);
    }
    count(await player.play(round));

    const [, second] = fleet.engines as [Engine, Engine];
    const name = second.options.name;
    say(`  ${name}: killed`);
    await second.stop("SIGKILL");
    fleet.witnesses.get(name)!.forget();
    count(await player.play(round));
    say(`  ${name}: starts again`);
    await second.start();
    afterReset.add(name);
    await waitFor(
      `${name} to be followed again`,
      async () => (await gateway!.pods()).find((pod) => pod.name === name)!.ready,
      gateway.agent,
      180_000,
    );
    count(await player.play(requests - 3 * round));
    const lost = proxies.reduce((n, proxy) => n + proxy.lost, 0);
    const passed = proxies.reduce((n, proxy) => n + proxy.passed, 0);
    say(`  ${lost} of ${lost + passed} event messages were lost on the way`);
    for (const pod of await gateway.pods()) say(`  ${pod.name}: ${JSON.stringify(pod.events)}`);
    return counted;
  } finally {
    await client?.close();
    await gateway?.stop();
    await Promise.all(proxies.map((proxy) => proxy.stop()));
  }
}

function report(title: string, judged: Judged[], verbose: boolean): void {
  const s = summarize(judged);
  const percent = (n: number) => `${(n * 100).toFixed(1)} %`;
  say(
    `${title}: ${percent(s.withinOneBlock)} of ${s.requests} within one block (${s.over} over, ${s.under} under; ${s.untold} of them as the events had it), ` +
      `${percent(s.byEventsWithinOneBlock)} by the events alone, ` +
      `${percent(s.withHits)} with hits, ${percent(s.routedToBest)} routed to the best pod`,
  );
  for (const kind of new Set(judged.map((j) => j.played.turn.kind))) {
    const of = judged.filter((j) => j.played.turn.kind === kind);
    const within = of.filter((j) => j.verdict === "within").length;
    say(`  ${kind}: ${within} of ${of.length}`);
  }
  for (const j of judged) if (verbose && j.verdict !== "within") say(`  ${describe(j)}`);
}

/** Plays every variant, the last one with faults too; what fell short is told. */
async function predictions(options: VllmOptions, home: string, folder: string) {
  const random = seeded(options.seed);
  const judged: Judged[] = [];
  const faulty: Judged[] = [];
  for (const [i, variant] of options.variants.entries()) {
    const { length } = options.variants;
    const requests = Math.floor(options.requests / length) + (i < options.requests % length ? 1 : 0);
    say(`${variant.name}: starting two vLLM servers ...`);
    const fleet = await Fleet.start(variant, options, home, join(folder, variant.name));
    try {
      const found = await plain(fleet, requests, options, random);
      report(variant.name, found, options.verbose);
      const events = [...fleet.witnesses.values()];
      say(
        `  blocks stored ${events.map((w) => w.stored).join(" and ")}, evicted ${events.map((w) => w.removed).join(" and ")}`,
      );
      judged.push(...found);
      if (i === length - 1 && options.faultRequests > 0) {
        faulty.push(...(await faults(fleet, options.faultRequests, random)));
        report(`${variant.name} with faults`, faulty, options.verbose);
      }
    } finally {
      await fleet.stop();
    }
    if (options.keep)
      for (const [name, { messages }] of fleet.witnesses)
        writeFileSync(join(fleet.folder, `${name}-events.json`), JSON.stringify(messages));
  }
  const all = summarize(judged);
  const { requests, withinOneBlock, untold, byEventsWithinOneBlock } = summarize(faulty);
  const summary = { ...all, faults: { requests, withinOneBlock, untold, byEventsWithinOneBlock } };
  if (options.keep)
    writeFileSync(
      join(folder, "requests.json"),
      JSON.stringify([...judged, ...faulty].map((j) => ({ ...j, held: Object.fromEntries(j.held) }))),
    );
  const short = [
    all.withinOneBlock < WANTED.withinOneBlock && `within one block: ${all.withinOneBlock.toFixed(3)}`,
    all.withHits < WANTED.withHits && `with hits: ${all.withHits.toFixed(3)}`,
    requests > 0 &&
      withinOneBlock < WANTED.faults &&
      `within one block with faults: ${withinOneBlock.toFixed(3)}`,
  ].filter((miss) => miss !== false);
  return {
    summary,
    faults: short.map((miss) => `${miss}, which is less than wanted (${JSON.stringify(WANTED)})`),
  };
}

async function main(): Promise<number> {
  const options = readOptions(process.argv.slice(2));
  const home = process.env["VLLM_HOME"];
  if (!home) throw new Error("VLLM_HOME is not set: start through npm run test:vllm, which installs vLLM");
  const folder = options.keep ?? mkdtempSync(join(tmpdir(), "warmgate-vllm-"));
  const { parts } = options;
  const predicted = parts.predictions ? await predictions(options, home, folder) : null;
  const pd = parts.pd ? await playTransfers(home, join(folder, "pd"), options, say) : null;
  if (!options.keep) rmSync(folder, { recursive: true, force: true });
  const summary = { ...predicted?.summary, ...(pd ? { pd } : {}) };
  if (options.json) writeFileSync(options.json, `${JSON.stringify(summary)}\n`);
  process.stdout.write(`${JSON.stringify(summary)}\n`);
  const faults = [...(predicted?.faults ?? []), ...(pd ? transferFaults(pd) : [])];
  for (const fault of faults) say(`warmgate: ${fault}`);
  return faults.length > 0 ? 1 : 0;
}

for (const signal of ["SIGINT", "SIGTERM"] as const)
  process.on(signal, () => {
    killEngines();
    killRunning();
    process.exit(130);
  });
try {
  process.exitCode = await main();
} catch (error) {
  killEngines();
  killRunning();
  say(`warmgate: ${(error as Error).stack}`);
  process.exitCode = 1;
}
