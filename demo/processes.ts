// Child processes of the demo and of end-to-end tests: simulated pods, the agent, Envoy. Each is known by its handle
// and ended by it; nothing is ended by name.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "../agent/package-root.js";

const alive = new Set<Running>();

/** Ends every child that was started here and still runs, at once: for an interrupted run. */
export function killRunning(): void {
  for (const running of alive) running.child.kill("SIGKILL");
}

/** A running child; `output` holds the last of what it wrote to stderr. */
export class Running {
  readonly #tail: string[] = [];
  #ended = false;

  constructor(
    readonly name: string,
    readonly child: ChildProcess,
  ) {
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#tail.push(text);
      while (this.#tail.length > 200) this.#tail.shift();
    });
    alive.add(this);
    child.once("exit", () => {
      this.#ended = true;
      alive.delete(this);
    });
  }

  get pid(): number {
    return this.child.pid!;
  }
  get ended(): boolean {
    return this.#ended;
  }
  get output(): string {
    return this.#tail.join("");
  }

  /** Ends the process and waits for it; after 10 s it is killed. */
  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    if (this.#ended) return;
    const exit = once(this.child, "exit");
    this.child.kill(signal);
    const timer = setTimeout(() => this.child.kill("SIGKILL"), 10_000);
    await exit;
    clearTimeout(timer);
  }
}

/** Waits as `waitFor` does for a child that was just started, and ends it when that fails. */
async function started(what: string, probe: () => Promise<boolean>, running: Running): Promise<void> {
  try {
    await waitFor(what, probe, running);
  } catch (error) {
    await running.stop();
    throw error;
  }
}

/** Polls until `probe` resolves true. @throws when the process ends or `timeoutMs` passes first. */
export async function waitFor(
  what: string,
  probe: () => Promise<boolean>,
  running?: Running,
  timeoutMs = 60_000,
): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    if (running?.ended) throw new Error(`${what}: ${running.name} ended\n${running.output}`);
    if (await probe().catch(() => false)) return;
    if (Date.now() > deadline)
      throw new Error(`${what}: not within ${timeoutMs} ms\n${running?.output ?? ""}`);
    await new Promise((done) => setTimeout(done, 20));
  }
}

async function answers(url: string): Promise<boolean> {
  const response = await fetch(url, { signal: AbortSignal.timeout(1000) });
  await response.arrayBuffer();
  return response.ok;
}

export interface SimulatedPod {
  name: string;
  port: number;
  eventsPort: number;
  replayPort: number;
  running: Running;
}

/** Starts a simulated pod and waits until it listens; `flags` are those of its command line. */
export async function startSimulatedPod(
  name: string,
  flags: Record<string, string | number>,
): Promise<SimulatedPod> {
  const args = Object.entries({ name, ...flags }).flatMap(([k, v]) => [`--${k}`, String(v)]);
  const child = spawn(process.execPath, [join(packageRoot(), "dist", "simulator", "main.js"), ...args], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const running = new Running(name, child);
  let line = "";
  child.stdout!.setEncoding("utf8").on("data", (text: string) => {
    line += text;
  });
  await started(`simulated pod ${name}`, async () => line.includes("\n"), running);
  const ready = JSON.parse(line.slice(0, line.indexOf("\n")));
  return { name, port: ready.port, eventsPort: ready.eventsPort, replayPort: ready.replayPort, running };
}

/** Starts the agent and waits until `/healthz` answers. */
export async function startAgent(configFile: string, httpPort: number): Promise<Running> {
  const child = spawn(
    process.execPath,
    [join(packageRoot(), "dist", "agent", "cli.js"), "agent", "--config", configFile],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
  const running = new Running("agent", child);
  await started("agent", () => answers(`http://127.0.0.1:${httpPort}/healthz`), running);
  return running;
}

/** Program and arguments of `warmgate sidecar` for the engine at `enginePort`; it may fetch from the addresses in a file. */
export function sidecarCommand(port: number, enginePort: number, allowlistFile: string): string[] {
  const flags = {
    host: "127.0.0.1",
    port,
    "vllm-port": enginePort,
    "secure-proxy": "false",
    "allowlist-file": allowlistFile,
  };
  const args = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, String(value)]);
  return [process.execPath, join(packageRoot(), "dist", "agent", "cli.js"), "sidecar", ...args];
}

/** Starts a sidecar and waits until it answers. */
export async function startSidecar(
  port: number,
  enginePort: number,
  allowlistFile: string,
): Promise<Running> {
  const [program, ...args] = sidecarCommand(port, enginePort, allowlistFile);
  const child = spawn(program!, args, { stdio: ["ignore", "ignore", "pipe"] });
  const running = new Running("sidecar", child);
  await started("sidecar", () => answers(`http://127.0.0.1:${port}/health`), running);
  return running;
}

/** Starts Envoy on a configuration that is written to `file`, and waits until it is live. */
export async function startEnvoy(
  config: object,
  file: string,
  adminPort: number,
  concurrency = 2,
): Promise<Running> {
  const path = process.env["ENVOY_PATH"];
  if (!path) throw new Error("ENVOY_PATH is not set: start through npm start or npm test, which find Envoy");
  writeFileSync(file, JSON.stringify(config));
  const child = spawn(
    path,
    ["-c", file, "--concurrency", String(concurrency), "-l", "warning", "--disable-hot-restart"],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
  const running = new Running("Envoy", child);
  await started("Envoy", () => answers(`http://127.0.0.1:${adminPort}/ready`), running);
  return running;
}

/** Requests in a row that tell of every worker: each goes over a connection of its own, and any worker may take it. */
const PROBES = 16;

/** Waits until every worker of the Envoy at `port` routes by the table: probes with `headers` are told which pod was chosen. */
export async function gatewayReady(
  port: number,
  envoy?: Running,
  headers: Record<string, string> = {},
): Promise<void> {
  await waitFor(
    "the gateway's table",
    async () => {
      for (let i = 0; i < PROBES; i++) {
        const response = await fetch(`http://127.0.0.1:${port}/v1/models`, {
          headers: { connection: "close", ...headers },
        });
        await response.arrayBuffer();
        if (!response.headers.has("x-selected-pod")) return false;
      }
      return true;
    },
    envoy,
  );
}

/** A counter or gauge of Envoy by its Prometheus name, 0 when there is none. */
export async function envoyStat(adminPort: number, name: string): Promise<number> {
  return (await envoyStats(adminPort, name)).get(name) ?? 0;
}

/** Prometheus counters and gauges of Envoy whose name begins with `prefix`. */
export async function envoyStats(adminPort: number, prefix: string): Promise<Map<string, number>> {
  const text = await (await fetch(`http://127.0.0.1:${adminPort}/stats/prometheus`)).text();
  const out = new Map<string, number>();
  for (const line of text.split("\n")) {
    const match = /^(\w+)(?:\{[^}]*\})? (\S+)$/.exec(line);
    if (match && match[1]!.startsWith(prefix)) out.set(match[1]!, Number(match[2]));
  }
  return out;
}
