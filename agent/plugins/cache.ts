// Owns what the cache routes answer from.
import fp from "fastify-plugin";
import { CacheFacts } from "../kv/cache-facts.js";
import { PromptScorer } from "../kv/prompt-score.js";
import { PromptReader } from "../prompt-reader.js";

declare module "fastify" {
  interface FastifyInstance {
    cacheFacts: CacheFacts;
    promptScorer: PromptScorer;
  }
}

export default fp(
  async (app) => {
    const facts = new CacheFacts(app.wire, app.registry);
    app.onBatch.push(() => {
      facts.updatedAt = Date.now();
    });
    app.decorate("cacheFacts", facts);
    app.decorate(
      "promptScorer",
      new PromptScorer(
        app.wire,
        app.registry,
        app.announced,
        await PromptReader.create(),
        app.config.policy.blockBytes,
      ),
    );
  },
  { name: "cache", dependencies: ["index-state", "kv-events", "models"] },
);
