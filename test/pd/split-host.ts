// A filter under the strict mock host with prefill and decode pods, for the tests of splits.
import type { DisaggregationProgram, PodRow } from "../../agent/wire.js";
import { type Headers, Host, Process, type Request } from "../wasm/host.js";
import { TestAgent } from "../wasm/table.js";

export const splitting: DisaggregationProgram = {
  mode: "always",
  by: "gateway",
  threshold: 10,
  promptTokens: 0,
  timeoutMs: 1000,
  onFailure: "local",
  maxConcurrent: 8,
  maxBodyBytes: 4_194_304,
  blocksExpireMs: 2000,
  transferTokensPerSecond: 200_000,
  stallWeight: 1,
};
/** Slots 0 and 1 decode, 2 and 3 prefill. */
export const PREFILL_PODS = ["10.0.0.3:8000", "10.0.0.4:8000"];
export const DECODE_PODS = ["10.0.0.1:8000", "10.0.0.2:8000"];

export const parameters = {
  do_remote_prefill: true,
  do_remote_decode: false,
  remote_block_ids: [[1, 2, 3]],
  remote_engine_id: "e",
  remote_request_id: "r",
  remote_host: "10.0.0.3",
  remote_port: 5600,
  remote_num_tokens: 2000,
};
export const good = JSON.stringify({
  id: "x",
  kv_transfer_params: parameters,
  usage: { prompt_tokens: 2000 },
});

export interface Split {
  agent: TestAgent;
  host: Host;
  process: Process;
}

/** `change` alters the pods before the filter sees them. */
export async function split(
  program: Partial<DisaggregationProgram> = {},
  change: (rows: PodRow[]) => void = () => {},
  fault?: (name: string) => number | undefined,
): Promise<Split> {
  const agent = await TestAgent.create(4);
  agent.pods.forEach((row, i) => {
    row.role = i < 2 ? "decode" : "prefill";
  });
  change(agent.pods);
  agent.wire.setPods(agent.pods);
  agent.wire.setDisaggregation({ ...splitting, ...program });
  const process = new Process();
  const configuration = { debugHeaders: "all" };
  const host = new Host({ configuration, process, ...(fault ? { fault } : {}) });
  host.receive(agent.snapshot());
  host.tick();
  return { agent, host, process };
}

export const long = (seed: string, bytes = 2000) =>
  `${seed} `.repeat(Math.ceil(bytes / (seed.length + 1))).slice(0, bytes);

/** Sends a body as a client does, headers first. */
export function send(
  host: Host,
  body: string | object,
  headers: Headers = [],
  path = "/v1/chat/completions",
) {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  const r: Request = host.request([
    [":method", "POST"],
    [":path", path],
    [":authority", "gateway.test"],
    ["content-length", String(new TextEncoder().encode(text).length)],
    ...headers,
  ]);
  r.onHeaders();
  const action = r.onBody(text, true);
  return { r, action };
}

export const bodyOf = (r: Request) => new TextDecoder().decode(r.body);

/** In-flight requests over all pods, and prefill calls. */
export function underWay(process: Process): { requests: bigint; prefills: bigint; calls: bigint } {
  return { ...process.underWay(), calls: process.metric("warmgate_prefill_inflight") };
}
export const NOTHING = { requests: 0n, prefills: 0n, calls: 0n };
