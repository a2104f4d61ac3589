// A burst with a shared cold prefix over several workers and gateways, real Envoys, whose own requests alone would tell
// each of them another story of which pod is free. What they tell one another makes it one story.
import { Agent, type ServerResponse } from "node:http";
import { afterEach, expect, test } from "vitest";
import { waitFor } from "../../demo/processes.js";
import { Words } from "../../demo/workload.js";
import { seeded } from "../../simulate/random.js";
import { TableServer } from "../bench/table-server.js";
import { renderChatml } from "../wasm/table.js";
import { TestGateway } from "./gateway-for-test.js";
import { post } from "./post.js";
import { Upstream } from "./upstream.js";

const PODS = 4;
/** Bytes, which are tokens here. */
const BACKGROUND = 24_000;

const words = new Words();
const random = seeded(5);
/** A chat whose prompt has so many tokens, about. */
const chat = (system: string, user: string) => ({
  model: "m",
  messages: [
    { role: "system", content: system },
    { role: "user", content: user },
  ],
});
const text = (bytes: number) => words.text(bytes, random).slice(0, bytes);

class Gateways {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 256 });
  readonly #list: TestGateway[] = [];
  readonly held: ServerResponse[] = [];
  private constructor(
    readonly pods: Upstream[],
    readonly table: TableServer,
  ) {}

  /** So many gateways of so many workers each, before pods that hold every answer back. */
  static async start(
    gateways: number,
    workers: number,
    shared: boolean,
    fill: (table: TableServer) => void,
  ): Promise<Gateways> {
    const pods = await Promise.all(Array.from({ length: PODS }, () => Upstream.start()));
    const addresses = pods.map((p) => p.address);
    const table = await TableServer.create(addresses, 10_000, "all");
    fill(table);
    if (shared) table.shareLoads(addresses);
    const all = new Gateways(pods, table);
    const streamPort = await table.listen();
    for (let i = 0; i < gateways; i++)
      all.#list.push(
        await TestGateway.start(addresses, { streamPort, workers, filter: { debugHeaders: "all" } }),
      );
    return all;
  }

  /** Waits until every worker decides by the table, as far as fresh connections tell; then pods hold their answers. */
  async ready(): Promise<void> {
    for (const gateway of this.#list) await gateway.ready();
    for (const pod of this.pods) {
      pod.seen.length = 0;
      pod.handler = (_, res) => {
        this.held.push(res);
        return true;
      };
    }
  }

  async send(gateway: number, body: object): Promise<number> {
    return (await post(this.#list[gateway]!.port, JSON.stringify(body), this.#agent)).status;
  }

  release(): void {
    for (const res of this.held.splice(0)) res.end("{}");
  }

  async stop(): Promise<void> {
    this.release();
    this.#agent.destroy();
    for (const gateway of this.#list) await gateway.stop();
    this.table.stop();
    for (const pod of this.pods) pod.stop();
  }
}

let running: Gateways | null = null;
afterEach(async () => {
  await running?.stop();
  running = null;
});

/**
 * Each of four views of the fleet has long prefills under way on three pods, another three each; then 200 requests come
 * at once. How many of them each pod got. With counts shared, all pods look alike; each view alone has one free pod.
 */
async function burst(gateways: number, workers: number, shared: boolean): Promise<number[]> {
  const views = gateways * workers;
  expect(views).toBe(PODS);
  const background: { view: number; pod: number; body: ReturnType<typeof chat> }[] = [];
  for (let view = 0; view < views; view++)
    for (let pod = 0; pod < PODS; pod++)
      if (pod !== view)
        background.push({ view, pod, body: chat(text(BACKGROUND / 2), text(BACKGROUND / 2)) });
  const all = await Gateways.start(gateways, workers, shared, (table) => {
    // Half of each is cached on the pod where it should go.
    for (const { pod, body } of background) table.cache(pod, renderChatml(body.messages), BACKGROUND / 2);
  });
  running = all;
  await all.ready();
  const answers = background.map(({ view, body }) => all.send(view % gateways, body));
  const seen = () => all.pods.map((p) => p.seen.length);
  await waitFor("the background on its pods", async () => seen().every((n) => n === views - 1));
  // Long enough for every gateway to hear of the others several times.
  await new Promise((done) => setTimeout(done, 300));
  const prefix = text(6000);
  for (let i = 0; i < 200; i++) answers.push(all.send(i % gateways, chat(prefix, text(50))));
  await waitFor("the burst on its pods", async () => seen().reduce((a, b) => a + b) === answers.length);
  const counts = seen().map((n) => n - (views - 1));
  all.release();
  expect(new Set(await Promise.all(answers))).toEqual(new Set([200]));
  return counts;
}

const used = (counts: number[]) => counts.filter((n) => n > 0).length;

test("a burst with a shared cold prefix over two gateways of two workers lands on one or two pods", async () => {
  const counts = await burst(2, 2, true);
  expect(used(counts), counts.join(" ")).toBeLessThanOrEqual(2);
});

test("gateways that do not hear of one another spread the same burst over all pods", async () => {
  const counts = await burst(4, 1, false);
  expect(used(counts), counts.join(" ")).toBe(PODS);
});
