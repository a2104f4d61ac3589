// Owns what is known of the pools' models.
import fp from "fastify-plugin";
import { ModelService } from "../model/model-service.js";
import { SavedTemplates } from "../model/saved-templates.js";

declare module "fastify" {
  interface FastifyInstance {
    models: ModelService;
  }
}

export default fp(
  async (app) => {
    const models = new ModelService(
      app.wire,
      app.registry,
      app.config.pools.map((pool) => {
        const id = app.wire.addModel(pool.model.name);
        return {
          pool,
          id,
          table: app.tokenTables.get(id)!,
          template: { kind: "waiting" as const },
          names: new Map([pool.model.name, ...pool.model.aliases].map((name) => [name, ""])),
        };
      }),
      new SavedTemplates(app.config.stateFolder),
      app.pino.child({ component: "models" }),
      () => app.publisher.touch(),
    );
    app.decorate("models", models);
    app.readiness.awaitAtStart(() =>
      models.models
        .filter((model) => !models.settled(model))
        .map((model) => ({
          code: "template_probing",
          detail: `the chat template of ${model.pool.model.name} is being learned from its pods`,
        })),
    );
    app.readiness.note(() =>
      models.models.flatMap(({ template, pool }) =>
        template.kind === "inexact"
          ? [
              {
                code: "template_inexact",
                detail: `chats of ${pool.model.name} are not matched by text: ${template.reason}`,
              },
            ]
          : [],
      ),
    );
    app.addHook("preClose", () => models.stop());
  },
  { name: "models", dependencies: ["index-state", "table"] },
);
