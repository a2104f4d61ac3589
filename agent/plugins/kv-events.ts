// Owns the event feeds: one per pod that publishes KV events.
import fp from "fastify-plugin";
import { EventFeed } from "../kv/event-feed.js";
import type { Pod } from "../load/pod-registry.js";

declare module "fastify" {
  interface FastifyInstance {
    /** Observers of applied batches: milliseconds spent. */
    onBatch: ((ms: number) => void)[];
    /** Observers of lost event connections. */
    onEventsLost: ((pod: Pod) => void)[];
  }
}

const EXPIRE_MS = 5000;

export default fp(
  async (app) => {
    app.decorate("onBatch", []);
    app.decorate("onEventsLost", []);
    const followed = app.registry.pods.filter((pod) => pod.config.events !== null);
    for (const pod of followed) {
      const saved = app.saved.get(pod.slot);
      if (saved?.suspect) pod.index.markSuspect();
      pod.feed = new EventFeed({
        events: pod.config.events!,
        replay: pod.config.replay,
        index: pod.index,
        log: app.pino.child({ component: "kv-events", pod_id: pod.config.name }),
        position:
          saved && saved.sequence !== null
            ? { sequence: saved.sequence, time: saved.time ?? Number.NaN }
            : null,
        onChange: (ms) => {
          app.publisher.touch();
          app.checkpointer.touch();
          for (const observe of app.onBatch) observe(ms);
        },
        onDisconnect: () => {
          for (const observe of app.onEventsLost) observe(pod);
        },
      });
    }

    app.readiness.awaitAtStart(() =>
      followed
        .filter((pod) => pod.feed!.state !== "live" && !silent(pod))
        .map((pod) => ({
          code: "events_behind",
          detail: `pod ${pod.config.name}: ${
            pod.feed!.state === "connecting"
              ? `no connection to ${pod.config.events} yet`
              : "catching up on KV events"
          }`,
        })),
    );
    app.readiness.note(() =>
      app.registry.pods.flatMap((pod) => {
        const name = pod.config.name;
        if (!pod.feed) return [{ code: "no_events", detail: `pod ${name} publishes no KV events` }];
        if (pod.index.suspect)
          return [
            { code: "suspect", detail: `pod ${name}: KV event batches were lost; some prefixes may be gone` },
          ];
        if (pod.feed.partial)
          return [
            {
              code: "partial",
              detail: `pod ${name}: prefixes from before its replay buffer are unknown until seen again`,
            },
          ];
        return [];
      }),
    );

    let expire: NodeJS.Timeout | null = null;
    app.addHook("onReady", async () => {
      for (const pod of followed) pod.feed!.start();
      expire = setInterval(() => {
        for (const pod of followed) pod.index.expire(performance.now());
      }, EXPIRE_MS);
    });
    app.addHook("preClose", async () => {
      if (expire) clearInterval(expire);
      await Promise.all(followed.map((pod) => pod.feed!.stop()));
    });
  },
  { name: "kv-events", dependencies: ["index-state", "table"] },
);

/** A pod that was asked and does not answer is not waited for. */
function silent(pod: Pod): boolean {
  return !pod.ready && pod.scrapes.refused + pod.scrapes.timeout + pod.scrapes.failed > 0;
}
