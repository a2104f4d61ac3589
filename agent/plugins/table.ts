// Owns the table's way out: the publisher, and the moment from which it serves.
import fp from "fastify-plugin";
import { Publisher } from "../table/publisher.js";

declare module "fastify" {
  interface FastifyInstance {
    publisher: Publisher;
  }
}

/** However slow a pod or a probe is, workers get a table after this, ms. */
const OPEN_AFTER_MS = 4000;
const LOOK_MS = 20;

export default fp(
  async (app) => {
    const publisher = new Publisher(app.wire, app.registry);
    app.decorate("publisher", publisher);
    let timer: NodeJS.Timeout | null = null;
    app.addHook("onReady", async () => {
      const deadline = performance.now() + OPEN_AFTER_MS;
      const look = () => {
        if (performance.now() < deadline && app.readiness.starting().length > 0) {
          timer = setTimeout(look, LOOK_MS);
          return;
        }
        publisher.open();
      };
      look();
    });
    app.addHook("preClose", async () => {
      if (timer) clearTimeout(timer);
      publisher.stop();
    });
  },
  { name: "table", dependencies: ["index-state"] },
);
