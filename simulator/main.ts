#!/usr/bin/env node
// Command line of the simulated vLLM pod.
import type { AddressInfo } from "node:net";
import { Command, Option } from "commander";
import { positive, wholeFrom } from "../simulate/arguments.js";
import { COST_MODELS, type CostModel } from "../simulate/cost-model.js";
import { Pod, type PodOptions } from "./pod.js";
import { createPodServer } from "./server.js";
import { Tokenizer } from "./tokenizer.js";

/** Time that answers under way have after SIGTERM, real ms. */
const GRACE_MS = 10_000;

/** Lets the compiler see the tokenizer's loops, or the first requests would wait for it. */
function warmUp(tokenizer: Tokenizer): void {
  let text = "";
  for (let id = 1000; id < 16_000; id++) text += tokenizer.vocabulary.bytes(id);
  tokenizer.encode(text);
}

const port = wholeFrom(0);
const program = new Command("warmgate-simulator")
  .description(
    "Stands in for a vLLM pod: its HTTP API, KV cache, cache events, metrics and timing, without a GPU.",
  )
  .option("--port <n>", "HTTP port on loopback, 0 = a free one", port, 0)
  .option("--name <name>", "name in the x-sim-pod response header", "sim-0")
  .option("--model <name>", "served model name", "meta-llama/Llama-3.2-3B-Instruct")
  .option("--blocks <n>", "KV cache blocks, the null block included", wholeFrom(2), 4096)
  .option("--block-size <n>", "tokens per block", wholeFrom(1), 16)
  .option("--max-model-len <n>", "longest prompt and answer together, tokens", wholeFrom(2), 131072)
  .option("--events-port <n>", "port of the event PUB socket, 0 = a free one", port, 0)
  .option("--replay-port <n>", "port of the replay ROUTER socket, 0 = a free one", port, 0)
  .option("--buffer-steps <n>", "event batches kept for replay", wholeFrom(0), 10000)
  .addOption(
    new Option("--event-format <form>", "encoding of events").choices(["map", "array"]).default("map"),
  )
  .addOption(
    new Option("--hash-format <form>", "encoding of block hashes").choices(["int", "bytes"]).default("int"),
  )
  .option("--time-scale <x>", "simulated seconds per real second", positive, 1)
  .option("--max-num-seqs <n>", "sequences that run at once", wholeFrom(1), 256)
  .option("--max-batched-tokens <n>", "tokens of one step", wholeFrom(1), 8192)
  .option("--stream-interval <n>", "tokens per server-sent event after the first one", wholeFrom(1), 1)
  .option(
    "--kv-hold-ms <n>",
    "time until blocks of a prefill that nobody pulls expire, ms",
    wholeFrom(1),
    480_000,
  )
  .option("--kv-link-gbps <n>", "bandwidth of KV transfers, gigabits a second", positive, 200)
  .addOption(
    new Option("--kv-load-failure <policy>", "what a decode does without the remote blocks")
      .choices(["fail", "recompute"])
      .default("fail"),
  )
  .option("--seed <n>", "varies the generated text", wholeFrom(0), 0)
  .addOption(new Option("--gpu <name>", "cost model").choices(Object.keys(COST_MODELS)).default("h200-8b"));

const {
  port: httpPort,
  gpu,
  ...settings
} = program.parse().opts<{ port: number; gpu: string } & PodOptions>();
const costModel = COST_MODELS[gpu] as CostModel;
const tokenizer = Tokenizer.load();
warmUp(tokenizer);
const pod = await Pod.start({ ...settings, costModel }, tokenizer).catch((error: Error) => {
  process.stderr.write(
    `simulator ${settings.name}: cannot bind the event ports ${settings.eventsPort} and ${settings.replayPort} on 127.0.0.1: ${error.message}\n`,
  );
  process.exit(1);
});
const server = createPodServer(pod);

server.on("error", (error) => {
  process.stderr.write(
    `simulator ${settings.name}: cannot listen on 127.0.0.1:${httpPort}: ${error.message}\n`,
  );
  process.exit(1);
});
server.listen({ port: httpPort, host: "127.0.0.1", backlog: 4096 }, () => {
  const ready = {
    ready: true,
    port: (server.address() as AddressInfo).port,
    eventsPort: pod.publisher.port,
    replayPort: pod.publisher.replayPort,
    pid: process.pid,
  };
  process.stdout.write(`${JSON.stringify(ready)}\n`);
});

let stopping = false;
function stop(): void {
  if (stopping) process.exit(0);
  stopping = true;
  server.close(() => {
    pod.stop();
    process.exit(0);
  });
  server.closeIdleConnections();
  setTimeout(() => process.exit(0), GRACE_MS).unref();
}
process.on("SIGTERM", stop);
process.on("SIGINT", stop);
