// Owns the approximate index: what gateways sent where, for pods and prompts of which nothing better is known.
import fp from "fastify-plugin";
import { isApproximate, type Pod } from "../load/pod-registry.js";
import type { Routed } from "../wire.js";

declare module "fastify" {
  interface FastifyInstance {
    approximate: {
      /** Text blocks that gateways told of. */
      readonly told: number;
      take(rows: Routed["rows"]): void;
    };
  }
}

/** Text blocks of a pod whose cache's size is not known; llm-d's lruCapacityPerServer. */
const UNKNOWN_CAPACITY = 31_250;

export default fp(
  async (app) => {
    const { wire, registry, config } = app;
    // Of the wall clock: the index outlives the process.
    const second = () => Math.floor(Date.now() / 1000);
    let told = 0;
    app.decorate("approximate", {
      get told() {
        return told;
      },
      take: (rows) => {
        for (const { address, hashes, tokensPerBlock } of rows) {
          const pod = registry.byAddress(address);
          if (!pod || !(tokensPerBlock > 0)) continue;
          told += hashes.length;
          wire.useApproximate(pod.slot, hashes, tokensPerBlock, roomOf(pod, tokensPerBlock), second());
        }
        app.publisher.touch();
      },
    });
    app.readiness.note(() =>
      registry.pods
        .filter((pod) => pod.ready && isApproximate(pod))
        .map((pod) => ({
          code: "approximate",
          detail: `pod ${pod.config.name} is matched by what it was sent: ${
            pod.feed
              ? "what it announces is not used until it agrees with its answers again"
              : "it publishes no KV events"
          }`,
        })),
    );
    const timer = setInterval(() => {
      const since = second() - Math.ceil(config.index.ttlMs / 1000);
      for (const { slot } of registry.pods) wire.dropApproximate(slot, since);
      app.publisher.touch();
    }, config.index.cleanupMs);
    app.addHook("preClose", async () => clearInterval(timer));
  },
  { name: "approximate", dependencies: ["table"] },
);

/** Text blocks that a pod's cache has room for. */
function roomOf({ metrics }: Pod, tokensPerBlock: number): number {
  const tokens = metrics?.capacityTokens ?? 0;
  return tokens > 0 ? Math.floor(tokens / tokensPerBlock) : UNKNOWN_CAPACITY;
}
