// GET /api/v1/models: which requests of each model are matched by text, and why the others are not.
import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox";
import { shownPredictions } from "../kv/prediction-watch.js";
import { NEVER_EXACT } from "../model/never-exact.js";
import { ErrorSchema, ModelsSchema } from "../schemas/api.js";

const models: FastifyPluginAsyncTypebox = async (app) => {
  app.get(
    "/models",
    {
      schema: {
        summary: "The models, and for each which requests are matched exactly",
        response: { 200: ModelsSchema, 401: ErrorSchema },
      },
    },
    async () => ({
      models: app.models.models.map(({ pool, names, template }) => ({
        name: pool.model.name,
        pool: pool.name,
        names: [...names].map(([name, lora]) => ({ name, lora: lora === "" ? null : lora })),
        template: template.kind,
        shapes:
          template.kind === "exact" || template.kind === "inexact"
            ? template.shapes.map(({ shape, exact, reason }) => ({ shape, exact, reason: reason ?? null }))
            : [],
        neverExact: NEVER_EXACT,
        predictions: shownPredictions(app.registry.inPool(pool)),
      })),
    }),
  );
};

export default models;
