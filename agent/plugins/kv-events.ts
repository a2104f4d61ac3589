// Owns the event feeds: one per pod that publishes KV events, to an endpoint that is configured, that the pod names
// itself, or that we bind.
import fp from "fastify-plugin";
import { AnnouncedBlocks, jsonEvents } from "../kv/announced-blocks.js";
import { BoundEvents } from "../kv/bound-events.js";
import { EventFeed } from "../kv/event-feed.js";
import { type EventSource, eventSource } from "../kv/event-sources.js";
import type { Pod } from "../load/pod-registry.js";

declare module "fastify" {
  interface FastifyInstance {
    /** Observers of applied batches: milliseconds spent. */
    onBatch: ((ms: number) => void)[];
    /** Observers of lost event connections. */
    onEventsLost: ((pod: Pod) => void)[];
    /** Blocks announced in the JSON form. */
    announced: AnnouncedBlocks;
    /** Null without ZMQ_BIND_ADDRESS. */
    boundEvents: BoundEvents | null;
    /** Where the bound socket is, once it is; null without one. */
    boundEndpoint: string | null;
    /** A pod answers: one that has no feed yet is asked where it publishes. */
    findEvents: (pod: Pod) => void;
  }
}

const EXPIRE_MS = 5000;

export default fp(
  async (app) => {
    const { registry, config } = app;
    const log = app.pino.child({ component: "kv-events" });
    app.decorate("onBatch", []);
    app.decorate("onEventsLost", []);
    const announced = new AnnouncedBlocks(config.index);
    app.decorate("announced", announced);
    const onJson = (payload: Uint8Array) => {
      try {
        for (const event of jsonEvents(payload)) {
          const pod = registry.find(event.podId);
          if (pod) announced.take(pod.slot, event, performance.now());
        }
      } catch (error) {
        log.warn(
          { event_type: "json", err: error },
          "a JSON message on the event endpoint was not understood",
        );
      }
    };

    const follow = (pod: Pod, events: string | null, replay: string | null): EventFeed => {
      const saved = app.saved.get(pod.slot);
      if (saved?.suspect) pod.index.markSuspect();
      const feed = new EventFeed({
        events,
        replay,
        index: pod.index,
        log: log.child({ pod_id: pod.config.name }),
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
        onJson,
      });
      pod.feed = feed;
      return feed;
    };
    const followed = () => registry.pods.filter((pod) => pod.feed !== null);
    for (const pod of registry.pods)
      if (pod.config.events !== null) follow(pod, pod.config.events, pod.config.replay);

    // Bind mode: a pod's feed begins with its first message.
    const bound =
      config.zmqBind === null
        ? null
        : new BoundEvents({
            address: config.zmqBind,
            receiver: (podId) => {
              const pod = registry.find(podId);
              if (!pod || pod.config.events !== null) return null;
              let feed = pod.feed;
              if (!feed) {
                feed = follow(pod, null, null);
                feed.start();
                log.info({ event_type: "bound", pod_id: pod.config.name }, "a pod publishes to us");
              }
              return (frames) => feed.deliver(frames);
            },
            onJson,
            log,
          });
    app.decorate("boundEvents", bound);
    app.decorate("boundEndpoint", null);

    const problems = new Map<Pod, string>();
    const asking = new Map<Pod, Promise<void>>();
    let started = false;
    const found = (pod: Pod, source: EventSource) => {
      log.info(
        { event_type: "found", pod_id: pod.config.name, ...source },
        "the pod names its event endpoint",
      );
      follow(pod, source.events, source.replay).start();
    };
    app.decorate("findEvents", (pod: Pod) => {
      if (!started || pod.feed || bound || asking.has(pod)) return;
      asking.set(
        pod,
        eventSource(pod.config.metricsBase)
          .then((answer) => {
            if (!started || pod.feed) return;
            if (answer.kind === "found") found(pod, answer.source);
            else if (answer.kind === "ranks")
              problems.set(
                pod,
                `it has ${answer.count} data-parallel ranks behind one address; list each rank as a pod with its own events`,
              );
          })
          .catch((error: Error) => {
            log.debug(
              { event_type: "sources", pod_id: pod.config.name, err: error },
              "the pod was not asked",
            );
          })
          .finally(() => asking.delete(pod)),
      );
    });

    app.readiness.awaitAtStart(() =>
      followed()
        .filter((pod) => pod.feed!.state !== "live" && !silent(pod))
        .map((pod) => ({
          code: "events_behind",
          detail: `pod ${pod.config.name}: ${
            pod.feed!.state === "connecting"
              ? `no connection to ${pod.feed!.endpoint} yet`
              : "catching up on KV events"
          }`,
        })),
    );
    app.readiness.note(() =>
      registry.pods.flatMap((pod) => {
        const name = pod.config.name;
        if (!pod.feed)
          return [
            {
              code: "no_events",
              detail: `pod ${name} publishes no KV events${problems.has(pod) ? `: ${problems.get(pod)}` : ""}`,
            },
          ];
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
    let cleanup: NodeJS.Timeout | null = null;
    app.addHook("onReady", async () => {
      if (bound) {
        app.boundEndpoint = await bound.start();
        log.info({ event_type: "bind", endpoint: app.boundEndpoint }, "pods may publish KV events to us");
      }
      started = true;
      for (const pod of followed()) pod.feed!.start();
      expire = setInterval(() => {
        for (const pod of followed()) pod.index.expire(performance.now());
      }, EXPIRE_MS);
      cleanup = setInterval(() => announced.expire(performance.now()), config.index.cleanupMs);
    });
    app.addHook("preClose", async () => {
      started = false;
      for (const timer of [expire, cleanup]) if (timer) clearInterval(timer);
      await bound?.stop();
      await Promise.all(asking.values());
      await Promise.all(followed().map((pod) => pod.feed!.stop()));
    });
  },
  { name: "kv-events", dependencies: ["index-state", "table"] },
);

/** A pod that was asked and does not answer is not waited for. */
function silent(pod: Pod): boolean {
  return !pod.ready && pod.scrapes.refused + pod.scrapes.timeout + pod.scrapes.failed > 0;
}
