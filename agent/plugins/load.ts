// Owns the pods' load and readiness: scrapes, and asks at once when an event connection drops.
import fp from "fastify-plugin";
import { AttributeScraper } from "../load/attribute-scraper.js";
import { ColumnPlugins } from "../load/column-plugins.js";
import type { Pod } from "../load/pod-registry.js";
import { Scraper } from "../load/scraper.js";

declare module "fastify" {
  interface FastifyInstance {
    scraper: Scraper;
    attributeScraper: AttributeScraper;
    /** Told after each scrape that read a pod's metrics. */
    onScraped: ((pod: Pod) => void)[];
  }
}

/** A new run of the engine may be known by its metrics alone: after a gap, or without replay, the sequence hides it. */
function noteRun(pod: Pod): void {
  const { feed, metrics } = pod;
  if (!metrics) return;
  const restarts = feed?.counts.restarts ?? 0;
  const otherProcess =
    metrics.startTime !== null && pod.startTime !== null && metrics.startTime !== pod.startTime;
  const countersWentBack = metrics.promptTokens < pod.promptTokens;
  if (restarts === pod.restartsKnown) {
    if (otherProcess) feed?.begunAnew("its process is another one");
    else if (countersWentBack && pod.index.suspect) feed?.begunAnew("its counters went back");
  }
  if (!feed && (otherProcess || countersWentBack)) pod.index.wipe();
  if (otherProcess || (feed?.counts.restarts ?? 0) !== pod.restartsKnown) pod.predictions.begunAnew();
  pod.promptTokens = metrics.promptTokens;
  pod.startTime = metrics.startTime;
  pod.restartsKnown = feed?.counts.restarts ?? 0;
}

export default fp(
  async (app) => {
    app.decorate("onScraped", []);
    const log = app.pino.child({ component: "load" });
    const scraper = new Scraper(app.config.scrape, {
      onLoad: (pod) => {
        noteRun(pod);
        app.predictions.scraped(pod);
        for (const told of app.onScraped) told(pod);
        app.publisher.loadsChanged();
      },
      onReadiness: (pod) => {
        if (pod.ready) {
          log.info({ event_type: "ready", pod_id: pod.config.name }, "the pod is ready");
          app.models.podReady(pod.pool);
          app.findEvents(pod);
        } else
          log.warn(
            { event_type: "not_ready", pod_id: pod.config.name },
            `the pod is not ready: ${pod.problem}`,
          );
        app.publisher.podsChanged();
      },
    });
    app.decorate("scraper", scraper);
    const changed = () => app.publisher.loadsChanged();
    const attributes = new AttributeScraper(app.config.scrape, app.registry.pods, changed);
    app.decorate("attributeScraper", attributes);
    const plugins = new ColumnPlugins(app.config.plugins, app.registry, log, changed);
    app.onEventsLost.push((pod) => void scraper.ask(pod));
    app.readiness.awaitAtStart(() =>
      app.registry.pods
        .filter((pod) => Object.values(pod.scrapes).every((n) => n === 0))
        .map((pod) => ({
          code: "pod_not_asked",
          detail: `pod ${pod.config.name} has not answered its first scrape`,
        })),
    );
    app.readiness.require(() =>
      app.registry.pods.some((pod) => pod.ready)
        ? []
        : [
            {
              code: "no_pod_ready",
              detail: `none of ${app.registry.pods.length} pods answers: ${app.registry.pods[0]!.problem}`,
            },
          ],
    );
    app.readiness.note(() =>
      app.registry.pods
        .filter((pod) => !pod.ready)
        .map((pod) => ({ code: "pod_not_ready", detail: `pod ${pod.config.name}: ${pod.problem}` })),
    );
    app.addHook("onReady", async () => {
      scraper.start(app.registry.pods);
      attributes.start();
      plugins.start();
    });
    app.addHook("preClose", async () => {
      plugins.stop();
      await Promise.all([scraper.stop(), attributes.stop()]);
    });
  },
  { name: "load", dependencies: ["table", "kv-events", "models", "predictions"] },
);
