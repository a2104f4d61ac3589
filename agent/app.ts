// Composition: which plugins make an agent, in which order. Nothing listens here.
import swagger from "@fastify/swagger";
import { type TypeBoxTypeProvider, TypeBoxValidatorCompiler } from "@fastify/type-provider-typebox";
import Fastify, { type FastifyBaseLogger, type FastifyInstance, LogController } from "fastify";
import type { Logger } from "pino";
import type { AgentConfig } from "./config/load.js";
import { codeOfStatus, replyError } from "./errors.js";
import approximate from "./plugins/approximate.js";
import cache from "./plugins/cache.js";
import indexState from "./plugins/index-state.js";
import kvEvents from "./plugins/kv-events.js";
import load from "./plugins/load.js";
import metrics from "./plugins/metrics.js";
import models from "./plugins/models.js";
import predictions from "./plugins/predictions.js";
import table from "./plugins/table.js";
import tableStream from "./plugins/table-stream.js";
import transfers from "./plugins/transfers.js";
import policy from "./policy/plugin.js";
import { PolicyStore } from "./policy/store.js";
import api from "./routes/api.js";
import health from "./routes/health.js";

declare module "fastify" {
  interface FastifyInstance {
    pino: Logger;
  }
}

/**
 * An agent that has not begun: `ready()` starts feeds, scrapes and probes, `close()` ends them and writes the last
 * checkpoint.
 * @throws StartError when secret, state folder or a tokenizer cannot be used.
 */
export async function buildApp(config: AgentConfig, log: Logger): Promise<FastifyInstance> {
  const app = Fastify({
    loggerInstance: log as FastifyBaseLogger,
    logController: new LogController({ disableRequestLogging: true }),
    forceCloseConnections: true,
    // A busy machine takes longer than Fastify's ten seconds to read a tokenizer.
    pluginTimeout: 0,
  })
    .withTypeProvider<TypeBoxTypeProvider>()
    .setValidatorCompiler(TypeBoxValidatorCompiler);
  app.decorate("pino", log);
  app.setNotFoundHandler((request, reply) =>
    replyError(reply, "not_found", `there is no ${request.method} ${request.url}`),
  );
  app.setErrorHandler((error: Error & { validation?: unknown; statusCode?: number }, request, reply) => {
    const code = error.validation ? "invalid_request" : codeOfStatus(error.statusCode);
    if (code) return replyError(reply, code, error.message);
    request.log.error({ err: error }, "a request failed");
    return replyError(reply, "internal", "the agent failed at this request; its log says why");
  });

  await app.register(swagger, {
    openapi: {
      openapi: "3.1.0",
      info: { title: "Warmgate agent", version: "1" },
      components: {
        securitySchemes: {
          token: { type: "http", scheme: "bearer", description: "tokenFile, where there is one" },
        },
      },
    },
  });
  const store = await PolicyStore.open(config, log.child({ component: "policy" }));
  await app.register(indexState, { config: { ...config, policy: store.current.program } });
  await app.register(table);
  await app.register(kvEvents);
  await app.register(models);
  await app.register(approximate);
  await app.register(predictions);
  await app.register(load);
  await app.register(tableStream);
  await app.register(cache);
  await app.register(metrics);
  await app.register(transfers);
  await app.register(policy, { store });
  await app.register(health);
  await app.register(api, { prefix: "/api/v1" });
  app.get("/openapi.json", { schema: { hide: true } }, async () => app.swagger());
  return app as unknown as FastifyInstance;
}
