// What prefill/decode costs besides the two calls themselves: in the filter, and through the sidecar, against the two
// calls one after the other through the same Envoy without the filter. `npm run bench:pd -- --help` says how to call it.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { Command, Option } from "commander";
import { built } from "../../agent/package-root.js";
import { freePorts } from "../../demo/ports.js";
import { envoyStat, type Running, sidecarCommand, startEnvoy, waitFor } from "../../demo/processes.js";
import { ascending, quantile } from "../../demo/quantile.js";
import { good, splitting } from "../pd/split-host.js";
import { podRow } from "../wasm/wire-for-test.js";
import { bootstrap, listenerLike, managerOf } from "./bootstrap.js";
import { answeringConfig } from "./envoy.js";
import { Caller, MarkedRequest, timed } from "./pd-calls.js";
import { measureStreams, servePods } from "./pd-streams.js";
import { say, writeResult } from "./result.js";
import { TableServer } from "./table-server.js";

const program = new Command("npm run bench:pd --")
  .description(
    "Measures prefill/decode with pods that answer at once, three ways in interleaved rounds of one run.",
  )
  .option("--json <file>", "write the figures to a file instead of standard output")
  .option("--seconds <s>", "length of a round", Number, 2)
  .option("--rounds <n>", "rounds of each way", Number, 3)
  .option("--body <bytes>", "size of a body", Number, 16_384)
  .option("--streams <n>", "instead: memory of one sidecar with so many streams open", Number)
  .addOption(new Option("--serve-pods").hideHelp());
program.parse(process.argv.slice(2), { from: "user" });
const o = program.opts<{
  json?: string;
  seconds: number;
  rounds: number;
  body: number;
  streams?: number;
  servePods?: boolean;
}>();

const WAYS = ["direct", "gateway", "sidecar"] as const;
type Way = (typeof WAYS)[number];
const CONNECTIONS = [1, 16];
if (o.servePods) {
  await servePods();
  await once(process, "disconnect");
  process.exit(0);
}
if (o.streams !== undefined) {
  const figures = await measureStreams(o.streams, o.body, [
    process.execPath,
    process.argv[1]!,
    "--serve-pods",
  ]);
  say(
    `${figures.whole} of ${figures.streams} streams whole; sidecar ${figures.rssMiB} MiB with all open, at most ${figures.peakMiB} MiB; ` +
      `${figures.openFiles} open files allowed`,
  );
  writeResult(o.json, {
    ...figures,
    bodyBytes: o.body,
    machine: { cpus: cpus().length, load: loadavg()[0] },
  });
  process.exit(figures.whole === figures.streams ? 0 : 1);
}

const folder = mkdtempSync(join(tmpdir(), "warmgate-bench-pd-"));
const [on, admin, stream, toPrefill, toDecode, toSidecar, prefill, decode, upAdmin, sidecar] =
  await freePorts(10);
const addresses = [`127.0.0.1:${decode}`, `127.0.0.1:${prefill}`];

/** The pods: one Envoy that answers by itself, the prefill port with transfer parameters. */
function podsConfig(): object {
  const config = answeringConfig([prefill, decode], upAdmin);
  const text = JSON.stringify(config);
  const first = text.indexOf('"inline_string":"ok"');
  return JSON.parse(
    `${text.slice(0, first)}"inline_string":${JSON.stringify(good)}${text.slice(first + '"inline_string":"ok"'.length)}`,
  );
}

/** The gateway, with listeners beside it that go to one cluster each without the filter. */
function gatewayConfig(): object {
  const config = bootstrap({
    gatewayPort: on,
    adminPort: admin,
    streamPort: stream,
    pods: [addresses[0]!],
    prefillPods: [addresses[1]!],
    wasm: built("warmgate.wasm"),
    filter: { sessionKey: "0123456789abcdef".repeat(4) },
  });
  const { listeners, clusters } = config.static_resources;
  const bare = (name: string, port: number, cluster: string) => {
    const copy = listenerLike(listeners[0], name, port);
    const connections = managerOf(copy);
    connections.http_filters = connections.http_filters.filter((f) => f.name !== "warmgate");
    // The bench itself says where the sidecar's prefills go.
    delete connections.early_header_mutation_extensions;
    for (const { routes } of connections.route_config.virtual_hosts)
      for (const { route } of routes) route.cluster = cluster;
    return copy;
  };
  const pods = clusters.find((c) => c.name === "pods")!;
  const beside = JSON.parse(
    JSON.stringify(pods)
      .replaceAll(`"port_value":${decode}`, `"port_value":${sidecar}`)
      .replaceAll('"pods"', '"sidecar"'),
  );
  clusters.push(beside);
  listeners.push(
    bare("to-prefill", toPrefill, "warmgate-prefill"),
    bare("to-decode", toDecode, "pods"),
    bare("to-sidecar", toSidecar, "sidecar"),
  );
  return config;
}

function startSidecar(): ChildProcess {
  const allowed = join(folder, "allowlist");
  writeFileSync(allowed, `${addresses[1]}\n`);
  const [program, ...args] = sidecarCommand(sidecar, decode, allowed);
  return spawn(program!, args, {
    stdio: ["ignore", "ignore", "inherit"],
    env: { ...process.env, LOG_LEVEL: "error" },
  });
}

/** Clock ticks of /proc a second. */
const TICKS = 100;
/** CPU seconds that a process has had. */
function cpuSeconds(pid: number): number {
  // The name, in parentheses, may have spaces.
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]!.split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS;
}

let number = 0;
function open(way: Way): { step(): Promise<void>; close(): void } {
  const request = new MarkedRequest(
    o.body,
    way === "sidecar" ? { "x-prefiller-host-port": addresses[1]! } : {},
  );
  if (way !== "direct") {
    const caller = new Caller(way === "gateway" ? on : toSidecar);
    return { step: () => caller.send(request.mark(number++)), close: () => caller.close() };
  }
  const [first, second] = [new Caller(toPrefill), new Caller(toDecode)];
  return {
    async step() {
      const bytes = request.mark(number++);
      await first.send(bytes);
      await second.send(bytes);
    },
    close() {
      first.close();
      second.close();
    },
  };
}

const server = await TableServer.create(addresses, 1000, "trusted");
server.wire.setPods(
  addresses.map((address, slot) =>
    podRow(slot, server.model, { address, role: slot === 0 ? "decode" : "prefill" }),
  ),
);
server.wire.setDisaggregation({ ...splitting, maxConcurrent: 256 });
const splits = () => envoyStat(admin, "warmgate_prefill_split_total");
let pods: Running | null = null;
let gateway: Running | null = null;
const child = startSidecar();
try {
  await server.listen(stream);
  pods = await startEnvoy(podsConfig(), join(folder, "pods.json"), upAdmin, 1);
  gateway = await startEnvoy(gatewayConfig(), join(folder, "gateway.json"), admin, 1);
  await waitFor("the sidecar", async () => (await fetch(`http://127.0.0.1:${sidecar}/health`)).ok);
  await waitFor("a split", async () => {
    const caller = open("gateway");
    await caller.step();
    caller.close();
    return (await splits()) > 0;
  });
  const latencies = new Map<string, number[]>();
  const rates = new Map<string, number[]>();
  // CPU seconds of gateway and sidecar together.
  const used = new Map<string, number>();
  const cpu = () => cpuSeconds(gateway!.pid) + cpuSeconds(child.pid!);
  const splitBefore = await splits();
  const measured = { gateway: 0 };
  for (const connections of CONNECTIONS)
    for (let round = -1; round < o.rounds; round++)
      for (const way of WAYS) {
        const before = cpu();
        const result = await timed(connections, round < 0 ? 0.5 : o.seconds, () => open(way));
        if (way === "gateway") measured.gateway += result.latenciesUs.length;
        if (round < 0) continue; // warm-up
        const key = `${way} ${connections}`;
        const all = latencies.get(key) ?? [];
        for (const us of result.latenciesUs) all.push(us);
        latencies.set(key, all);
        used.set(key, (used.get(key) ?? 0) + cpu() - before);
        rates.set(key, [...(rates.get(key) ?? []), result.latenciesUs.length / result.seconds]);
      }
  const split = (await splits()) - splitBefore;
  if (split < measured.gateway) throw new Error(`only ${split} of ${measured.gateway} requests were split`);
  const figures = (way: Way, connections: number) => {
    const sorted = ascending(latencies.get(`${way} ${connections}`)!);
    const at = (share: number) => Math.round(quantile(sorted, share));
    const list = rates.get(`${way} ${connections}`)!;
    return {
      p50Us: at(0.5),
      p99Us: at(0.99),
      rps: Math.round(list.reduce((a, b) => a + b, 0) / list.length),
      cpuUs: Math.round((used.get(`${way} ${connections}`)! * 1e6) / sorted.length),
    };
  };
  const cells = (connections: number) =>
    Object.fromEntries(WAYS.map((way) => [way, figures(way, connections)])) as Record<
      Way,
      ReturnType<typeof figures>
    >;
  const result = {
    ...cells(1),
    at16: cells(16),
    bodyBytes: o.body,
    machine: { cpus: cpus().length, load: loadavg()[0] },
  };
  for (const [name, c] of [
    ["c=1", result],
    ["c=16", result.at16],
  ] as const)
    for (const way of WAYS)
      say(
        `${name} ${way}: p50 ${c[way].p50Us} µs (${c[way].p50Us - c.direct.p50Us} beyond the two calls), p99 ${c[way].p99Us} µs, ${c[way].rps} requests/s, ${c[way].cpuUs} µs of CPU in gateway and sidecar`,
      );
  writeResult(o.json, result);
} finally {
  await Promise.all([pods?.stop(), gateway?.stop()]);
  const ended = child.exitCode === null ? once(child, "exit") : null;
  child.kill();
  await ended;
  server.stop();
  rmSync(folder, { recursive: true, force: true });
}
