// How a metric is registered whose values are read from the parts when it is asked for; nothing is counted twice.
import type { FastifyInstance } from "fastify";
import { Counter, Gauge, type MetricConfiguration, Registry } from "prom-client";
import type { Pod } from "../load/pod-registry.js";
import type { PodTotals } from "../table/gateway-reports.js";

export type Rows = [labels: Record<string, string>, value: number][];

type Register = (name: string, help: string, labelNames: string[], rows: () => Rows) => void;

export class Metrics {
  readonly registry = new Registry();

  constructor(readonly app: FastifyInstance) {}

  readonly counter: Register = (...about) =>
    this.#register(Counter, (metric, labels, value) => metric.inc(labels, value), ...about);

  readonly gauge: Register = (...about) =>
    this.#register(Gauge, (metric, labels, value) => metric.set(labels, value), ...about);

  #register<M extends Counter | Gauge>(
    Kind: new (about: MetricConfiguration<string> & { collect(): void }) => M,
    put: (metric: M, labels: Record<string, string>, value: number) => void,
    ...[name, help, labelNames, rows]: Parameters<Register>
  ): void {
    const metric: M = new Kind({
      name,
      help,
      labelNames,
      registers: [this.registry],
      collect() {
        metric.reset();
        for (const [labels, value] of rows()) put(metric, labels, value);
      },
    });
  }

  /** A row for each pod that has a value. */
  readonly perPod = (value: (pod: Pod) => number | null | undefined): Rows =>
    this.app.registry.pods.flatMap((pod): Rows => {
      const v = value(pod);
      return v === null || v === undefined || Number.isNaN(v) ? [] : [[{ pod: pod.config.name }, v]];
    });

  /** A row for each pod that gateways reported of. */
  readonly reported = (value: (total: PodTotals) => number): Rows =>
    this.perPod((pod) => {
      const total = this.app.reports.pods.get(pod.config.address);
      return total ? value(total) : null;
    });
}
