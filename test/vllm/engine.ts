// One real vLLM server on CPU: started in a process group of its own, so that its workers end with it.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { request } from "undici";

export const MODEL_NAME = "tiny";
/** Tokens of a KV block. */
export const KV_BLOCK = 16;
const MAX_LENGTH = 2048;
/** Three processes import torch; on a busy machine of two cores that takes minutes. */
const START_MS = 600_000;

interface EngineOptions {
  name: string;
  /** Folder of the installed vLLM. */
  home: string;
  modelFolder: string;
  port: number;
  eventsPort: number;
  replayPort: number;
  blocks: number;
  /** Folder of the log. */
  logs: string;
  /** KV blocks move between servers over NIXL; none when absent. */
  transfer?: {
    role: "kv_producer" | "kv_consumer";
    /** Where the other server asks for this one's memory. */
    port: number;
  };
}

const running = new Set<ChildProcess>();

/** Ends every server at once, for an interrupted run. */
export function killEngines(): void {
  for (const child of running) kill(child, "SIGKILL");
}

/** Where the kernel weighs sessions against each other (autogroup), nice counts inside a session alone. */
function standBack(pid: number): void {
  try {
    writeFileSync(`/proc/${pid}/autogroup`, "10");
  } catch {
    // Another kernel, or it has ended: then nice is all there is, or the start says why.
  }
}

function kill(child: ChildProcess, signal: NodeJS.Signals): void {
  try {
    process.kill(-child.pid!, signal);
  } catch {
    // It has ended by itself.
  }
}

export class Engine {
  #child: ChildProcess | null = null;
  #starts = 0;

  constructor(readonly options: EngineOptions) {}

  get base(): string {
    return `http://127.0.0.1:${this.options.port}`;
  }
  get events(): string {
    return `tcp://127.0.0.1:${this.options.eventsPort}`;
  }
  get replay(): string {
    return `tcp://127.0.0.1:${this.options.replayPort}`;
  }

  /** Starts the server and waits until it is healthy. @throws with the end of its log when it ends or does not come up. */
  async start(): Promise<void> {
    const { home, modelFolder, name, port, eventsPort, replayPort, blocks, logs, transfer } = this.options;
    const log = join(logs, `${name}-${this.#starts++}.log`);
    const output = openSync(log, "w");
    const child = spawn(
      // On a GPU the engine leaves the CPU to the gateway and the agent. Here it computes on it, so it stands back.
      "nice",
      [
        ...["-n", "15", join(home, "venv", "bin", "vllm")],
        ...["serve", modelFolder, "--served-model-name", MODEL_NAME, "--load-format", "safetensors"],
        ...["--dtype", "bfloat16", "--max-model-len", String(MAX_LENGTH), "--enforce-eager"],
        ...["--enable-prefix-caching", "--block-size", String(KV_BLOCK)],
        ...["--num-gpu-blocks-override", String(blocks), "--max-num-seqs", "8"],
        ...["--enable-prompt-tokens-details", "--host", "127.0.0.1", "--port", String(port)],
        "--kv-events-config",
        JSON.stringify({
          enable_kv_cache_events: true,
          publisher: "zmq",
          // An asterisk makes the server bind; a host makes it connect.
          endpoint: `tcp://*:${eventsPort}`,
          replay_endpoint: `tcp://127.0.0.1:${replayPort}`,
          topic: `kv@127.0.0.1:${port}@${MODEL_NAME}`,
        }),
        ...(transfer
          ? [
              "--kv-transfer-config",
              JSON.stringify({
                kv_connector: "NixlConnector",
                kv_role: transfer.role,
                kv_buffer_device: "cpu",
              }),
            ]
          : []),
      ],
      {
        detached: true,
        stdio: ["ignore", output, output],
        env: {
          ...process.env,
          VLLM_CPU_KVCACHE_SPACE: "1",
          // Each server would pin its thread to core 0.
          VLLM_CPU_OMP_THREADS_BIND: "nobind",
          OMP_NUM_THREADS: "1",
          VLLM_WORKER_MULTIPROC_METHOD: "fork",
          VLLM_CPU_CI_ENV: "1",
          // Adds POST /reset_prefix_cache.
          VLLM_SERVER_DEV_MODE: "1",
          VLLM_NO_USAGE_STATS: "1",
          DO_NOT_TRACK: "1",
          HF_HUB_OFFLINE: "1",
          TRANSFORMERS_OFFLINE: "1",
          VLLM_CACHE_ROOT: join(home, "cache"),
          ...(transfer
            ? {
                UCX_TLS: "tcp,self,sm",
                UCX_NET_DEVICES: "lo",
                VLLM_NIXL_SIDE_CHANNEL_HOST: "127.0.0.1",
                VLLM_NIXL_SIDE_CHANNEL_PORT: String(transfer.port),
              }
            : {}),
        },
      },
    );
    closeSync(output);
    running.add(child);
    this.#child = child;
    let ended = false;
    child.once("exit", () => {
      ended = true;
      running.delete(child);
    });
    const deadline = Date.now() + START_MS;
    while (!(await this.healthy())) {
      if (ended || Date.now() > deadline) {
        kill(child, "SIGKILL");
        const tail = readFileSync(log, "utf8").split("\n").slice(-30).join("\n");
        throw new Error(`vLLM ${name} ${ended ? "ended" : "was not healthy in time"}:\n${tail}`);
      }
      await new Promise((wake) => setTimeout(wake, 250));
    }
    // Not before: importing torch would take minutes on a busy machine.
    standBack(child.pid!);
  }

  async healthy(): Promise<boolean> {
    try {
      const { statusCode, body } = await request(`${this.base}/health`, { headersTimeout: 2000 });
      await body.dump();
      return statusCode === 200;
    } catch {
      return false;
    }
  }

  /** Ends the server and its workers. `SIGKILL` leaves no time to say goodbye, as a crash. */
  async stop(signal: "SIGTERM" | "SIGKILL" = "SIGTERM"): Promise<void> {
    const child = this.#child;
    this.#child = null;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const exit = once(child, "exit");
    kill(child, signal);
    const timer = setTimeout(() => kill(child, "SIGKILL"), 15_000);
    await exit;
    clearTimeout(timer);
    kill(child, "SIGKILL");
  }

  /** Empties the prefix cache, behind every gateway's back. */
  async resetCache(): Promise<void> {
    const { statusCode, body } = await request(`${this.base}/reset_prefix_cache`, { method: "POST" });
    await body.dump();
    if (statusCode !== 200) throw new Error(`${this.base}/reset_prefix_cache answers ${statusCode}`);
  }
}
