// Starts a simulated pod in this process on free ports.
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { H200_8B } from "../../simulate/cost-model.js";
import { Pod, type PodOptions } from "../../simulator/pod.js";
import { createPodServer } from "../../simulator/server.js";
import { Tokenizer } from "../../simulator/tokenizer.js";

const tokenizer = Tokenizer.load();

export interface RunningPod {
  url: string;
  pod: Pod;
  stop(): void;
}

/** A pod that listens on loopback, fifty times as fast as the GPU it stands for. */
export async function startPod(options: Partial<PodOptions> = {}): Promise<RunningPod> {
  const settings: PodOptions = {
    name: "pod-a",
    model: "test-model",
    blocks: 512,
    blockSize: 16,
    maxModelLen: 131072,
    eventsPort: 0,
    replayPort: 0,
    bufferSteps: 100,
    eventFormat: "map",
    hashFormat: "int",
    timeScale: 50,
    maxNumSeqs: 256,
    maxBatchedTokens: 8192,
    streamInterval: 1,
    seed: 0,
    kvHoldMs: 480_000,
    kvLinkGbps: 200,
    kvLoadFailure: "fail",
    costModel: H200_8B,
    ...options,
  };
  const pod = await Pod.start(settings, tokenizer);
  const server = createPodServer(pod);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    pod,
    stop: () => {
      server.closeAllConnections();
      server.close();
      pod.stop();
    },
  };
}

/** Whatever JSON holds; answers have as many shapes as tests. */
type Json = ReturnType<typeof JSON.parse>;

/** A chat with one message. */
export const chat = (content: unknown, more: object = {}): object => ({
  messages: [{ role: "user", content }],
  ...more,
});

/** Posts JSON and reads JSON. */
export async function post(
  url: string,
  body: unknown,
): Promise<{ status: number; headers: Headers; json: Json }> {
  const response = await fetch(url, { method: "POST", body: JSON.stringify(body) });
  return { status: response.status, headers: response.headers, json: await response.json() };
}

/** Data of each server-sent event of a streamed answer. */
export async function postStream(url: string, body: object): Promise<string[]> {
  const response = await fetch(url, { method: "POST", body: JSON.stringify({ ...body, stream: true }) });
  const events = (await response.text()).split("\n\n");
  return events.filter((event) => event !== "").map((event) => event.replace(/^data: /, ""));
}

let nextStart = 1000;

/** Token ids that no other test of the file has used. */
export function freshTokens(count: number): number[] {
  nextStart += count;
  return Array.from({ length: count }, (_, i) => nextStart - count + i);
}
