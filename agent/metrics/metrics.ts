// How a metric is registered whose values are read from the parts when it is asked for; nothing is counted twice.
import type { FastifyInstance } from "fastify";
import { Counter, Gauge, Registry } from "prom-client";
import type { EventFeed } from "../kv/event-feed.js";
import type { Pod } from "../load/pod-registry.js";
import type { PodTotals } from "../table/gateway-reports.js";

export type Rows = [labels: Record<string, string>, value: number][];

type Register = (name: string, help: string, labelNames: string[], rows: () => Rows) => void;

export class Metrics {
  readonly registry = new Registry();

  constructor(readonly app: FastifyInstance) {}

  readonly counter: Register = (name, help, labelNames, rows) => {
    new Counter({
      name,
      help,
      labelNames,
      registers: [this.registry],
      collect() {
        this.reset();
        for (const [labels, value] of rows()) this.inc(labels, value);
      },
    });
  };

  readonly gauge: Register = (name, help, labelNames, rows) => {
    new Gauge({
      name,
      help,
      labelNames,
      registers: [this.registry],
      collect() {
        this.reset();
        for (const [labels, value] of rows()) this.set(labels, value);
      },
    });
  };

  /** A row for each pod that has a value. */
  readonly perPod = (value: (pod: Pod) => number | null | undefined): Rows =>
    this.app.registry.pods.flatMap((pod): Rows => {
      const v = value(pod);
      return v === null || v === undefined || Number.isNaN(v) ? [] : [[{ pod: pod.config.name }, v]];
    });

  /** A row for each pod whose events are followed. */
  readonly feeds = (value: (feed: EventFeed) => number): Rows =>
    this.perPod((pod) => (pod.feed ? value(pod.feed) : null));

  /** A row for each pod that gateways reported of. */
  readonly reported = (value: (total: PodTotals) => number): Rows =>
    this.perPod((pod) => {
      const total = this.app.reports.pods.get(pod.config.address);
      return total ? value(total) : null;
    });
}
