// /api/v1: what the agent knows. Behind the token where there is one.
import { timingSafeEqual } from "node:crypto";
import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox";
import { decisionsView } from "../decisions/view.js";
import { replyError } from "../errors.js";
import { shownPredictions } from "../kv/prediction-watch.js";
import type { Pod } from "../load/pod-registry.js";
import { ErrorSchema, PodsSchema } from "../schemas/api.js";
import { DecisionsQuerySchema, DecisionsSchema } from "../schemas/decisions.js";
import cache from "./cache.js";
import models from "./models.js";
import policy from "./policy.js";

const api: FastifyPluginAsyncTypebox = async (app) => {
  const { token } = app.config;
  app.addHook("onRequest", async (request, reply) => {
    if (token === null || authorized(request.headers.authorization, token)) return;
    return replyError(reply, "unauthorized", "send the token of tokenFile as: Authorization: Bearer <token>");
  });

  app.get(
    "/pods",
    {
      schema: {
        summary: "All pods with everything known of them",
        response: { 200: PodsSchema, 401: ErrorSchema },
      },
    },
    async () => {
      const now = performance.now();
      return { pods: app.registry.pods.map((pod) => describe(pod, now)) };
    },
  );

  app.get(
    "/decisions",
    {
      schema: {
        summary: "Decisions that gateways recorded (decisions.sampleRate of the policy), newest first",
        querystring: DecisionsQuerySchema,
        response: { 200: DecisionsSchema, 400: ErrorSchema, 401: ErrorSchema },
      },
    },
    async ({ query }) => {
      const pods = new Map(app.registry.pods.map(({ config }) => [config.address, config.name]));
      return decisionsView(
        app.decisions,
        app.decisions.latest(query.limit ?? 100, query.requestId),
        (address) => pods.get(address) ?? null,
        query.replay ?? false,
      );
    },
  );

  await app.register(policy);
  await app.register(cache);
  await app.register(models);

  app.get("/openapi.json", { schema: { hide: true } }, async () => app.swagger());

  function describe(pod: Pod, now: number) {
    const { config, metrics, feed, index } = pod;
    return {
      name: config.name,
      pool: pod.pool.name,
      model: pod.pool.model.name,
      address: config.address,
      role: config.role,
      labels: config.labels,
      slot: pod.slot,
      ready: pod.ready,
      problem: pod.problem === "" ? null : pod.problem,
      load: metrics && {
        waiting: metrics.waiting,
        running: metrics.running,
        kvUsage: metrics.kvUsage,
        ageMs: now - pod.metricsAt,
      },
      cache: {
        blockTokens: app.registry.blockTokens(pod),
        capacityTokens: metrics?.capacityTokens || null,
        hitRate: metrics?.prefixQueries ? metrics.prefixHits / metrics.prefixQueries : null,
      },
      predictions: {
        ...shownPredictions([pod]),
        alarm: pod.predictions.alarm,
        fallen: pod.predictions.fallen !== null,
      },
      prefillTokensPerSecond: pod.rate.value,
      inflightRequests: app.reports.inflight(config.address),
      events: feed && {
        state: feed.state,
        sequence: feed.position?.sequence ?? null,
        batches: feed.counts.batches,
        replayed: feed.counts.replayed,
        gaps: feed.counts.gaps,
        missed: feed.counts.missed,
        restarts: feed.counts.restarts,
        malformed: feed.counts.malformed,
        suspect: index.suspect,
        partial: feed.partial,
        orphans: index.orphans.size,
      },
    };
  }
};

export default api;

function authorized(header: string | undefined, token: string): boolean {
  const given = Buffer.from(header ?? "");
  const wanted = Buffer.from(`Bearer ${token}`);
  return given.length === wanted.length && timingSafeEqual(given, wanted);
}
