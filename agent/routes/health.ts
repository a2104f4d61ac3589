// For probes and scrapers: no token, no secrets.
import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox";
import { Type } from "typebox";
import { ReadySchema } from "../schemas/api.js";

const health: FastifyPluginAsyncTypebox = async (app) => {
  app.get(
    "/healthz",
    { schema: { response: { 200: Type.Object({ status: Type.Literal("ok") }) } } },
    async () => ({
      status: "ok" as const,
    }),
  );

  app.get(
    "/readyz",
    { schema: { response: { 200: ReadySchema, 503: ReadySchema } } },
    async (_request, reply) => {
      const reasons = app.readiness.reasons();
      if (!app.publisher.opened)
        reasons.push({ code: "table_closed", detail: "the table is not served yet" });
      const ready = reasons.length === 0;
      return reply.code(ready ? 200 : 503).send({ ready, reasons, notes: app.readiness.notes() });
    },
  );

  app.get("/metrics", { schema: { hide: true } }, async (_request, reply) => {
    reply.type(app.prometheus.contentType);
    return app.prometheus.metrics();
  });
};

export default health;
