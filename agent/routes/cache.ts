// /api/v1/score and /api/v1/cache: what pods have cached. Who may ask learns what others have sent, so it is behind the
// token, and without one under a loopback name only.
import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox";
import { Type } from "typebox";
import { replyError } from "../errors.js";
import type { PodScore } from "../kv/prompt-score.js";
import { scoredOf } from "../kv/score-request.js";
import type { Pod } from "../load/pod-registry.js";
import type { PoolModel } from "../model/model-service.js";
import { MAX_BODY_BYTES, type PromptProblem } from "../prompt-reader.js";
import { ErrorSchema } from "../schemas/api.js";
import { CacheStateSchema, PodCacheSchema, ScoreRequestSchema, ScoreSchema } from "../schemas/cache.js";
import { refuseForeignHost } from "./loopback-host.js";

declare module "fastify" {
  interface FastifyRequest {
    /** A JSON body as it came; null where there is none. */
    rawBody: Buffer | null;
  }
}

const security = [{ token: [] }];
const refusals = { 400: ErrorSchema, 401: ErrorSchema, 403: ErrorSchema, 404: ErrorSchema };

const PROBLEMS: Record<PromptProblem, string> = {
  malformed: "the prompt cannot be read",
  not_an_object: "the body is no object",
  too_deep: "the messages are nested too deep",
  empty: "the body is empty",
  unknown_model: "no pool serves this model",
};

const cache: FastifyPluginAsyncTypebox = async (app) => {
  const { promptScorer, cacheFacts, registry, models } = app;
  app.addHook("onRequest", async (request, reply) =>
    app.config.token === null ? refuseForeignHost(request, reply, "the cache is shown") : undefined,
  );

  app.decorateRequest("rawBody", null);
  app.addContentTypeParser("application/json", { parseAs: "buffer" }, (request, body, done) => {
    request.rawBody = body as Buffer;
    try {
      done(null, JSON.parse(body.toString()));
    } catch (error) {
      done(Object.assign(new Error(`the body is no JSON: ${(error as Error).message}`), { statusCode: 400 }));
    }
  });

  app.post(
    "/score",
    {
      bodyLimit: MAX_BODY_BYTES / 2,
      schema: {
        summary: "How much of a prompt each pod has cached",
        security,
        body: ScoreRequestSchema,
        response: { 200: ScoreSchema, ...refusals, 413: ErrorSchema },
      },
    },
    async (request, reply) => {
      const before = performance.now();
      const refuse = (code: "invalid_request" | "model_not_found", message: string) => {
        cacheFacts.scored.refused++;
        return replyError(reply, code, message);
      };
      const served = models.models;
      const name = request.body.model ?? (served.length === 1 ? served[0]!.pool.model.name : null);
      if (name === null)
        return refuse("invalid_request", "model: several models are served here, name the one that is meant");
      const pools = served.filter((model) => model.names.has(name));
      if (pools.length === 0) return refuse("model_not_found", `model: no pool serves ${name}`);
      const scored = scoredOf(request.body, request.rawBody!, name);
      if (typeof scored === "string") return refuse("invalid_request", scored);
      const { pods, unknown } = candidates(request.body.candidate_pods, pools);
      const result = promptScorer.score(scored, pools[0]!, pods);
      if (typeof result === "string") return refuse("invalid_request", PROBLEMS[result]);
      cacheFacts.scored[result.exact ? "exact" : "inexact"]++;
      const answer = {
        model: name,
        exact: result.exact,
        reasons: result.reasons,
        scores: result.scores.map(shown),
        recommendation: best(result.scores)?.config.name ?? null,
        unknown_pods: unknown,
      };
      cacheFacts.onScore(performance.now() - before);
      return answer;
    },
  );

  app.get(
    "/cache/state",
    {
      schema: {
        summary: "The caches of all pods",
        security,
        response: { 200: CacheStateSchema, ...refusals },
      },
    },
    async () => cacheFacts.state(),
  );

  app.get(
    "/cache/pod/:pod_id",
    {
      schema: {
        summary: "The cache of one pod",
        security,
        params: Type.Object({ pod_id: Type.String({ description: "Name or address" }) }),
        response: { 200: PodCacheSchema, ...refusals },
      },
    },
    async (request, reply) => {
      const pod = registry.find(request.params.pod_id);
      if (!pod) return replyError(reply, "pod_not_found", `there is no pod ${request.params.pod_id}`);
      return cacheFacts.pod(pod);
    },
  );

  function candidates(wanted: string[] | undefined, pools: PoolModel[]): { pods: Pod[]; unknown: string[] } {
    const serving = new Set(pools.flatMap(({ pool }) => registry.inPool(pool)));
    if (wanted === undefined) return { pods: [...serving], unknown: [] };
    const pods: Pod[] = [];
    const unknown: string[] = [];
    for (const id of wanted) {
      const pod = registry.find(id);
      if (pod && serving.has(pod)) pods.push(pod);
      else unknown.push(id);
    }
    return { pods, unknown };
  }

  function shown({ pod, present, total, cachedTokens }: PodScore) {
    const rate = total > 0 ? present / total : 0;
    const bytes = cacheFacts.cacheBytes(pod);
    return {
      pod_id: pod.config.name,
      cache_hit_rate: rate,
      blocks_present: present,
      blocks_total: total,
      cached_tokens: cachedTokens,
      score: rate * 100,
      cache_size_mb: bytes === null ? null : bytes / 1e6,
    };
  }
};

export default cache;

function best(scores: PodScore[]): Pod | null {
  const load = ({ metrics }: Pod) => (metrics ? metrics.running + metrics.waiting : 0);
  let chosen: PodScore | null = null;
  for (const score of scores) {
    if (!score.pod.ready) continue;
    if (
      !chosen ||
      score.present > chosen.present ||
      (score.present === chosen.present && load(score.pod) < load(chosen.pod))
    )
      chosen = score;
  }
  return chosen?.pod ?? null;
}
