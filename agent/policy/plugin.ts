// Puts the policy in force into the score table, from where every gateway worker has it.
import fp from "fastify-plugin";
import { Gauge } from "prom-client";
import { columnRows } from "../load/column-rows.js";
import { needsColumns } from "./program.js";
import type { ActivePolicy, PolicyStore } from "./store.js";

declare module "fastify" {
  interface FastifyInstance {
    policy: PolicyStore;
  }
}

export default fp<{ store: PolicyStore }>(
  async (app, { store }) => {
    const log = app.pino.child({ component: "policy" });
    const put = ({ version, program }: ActivePolicy) => {
      app.wire.setDisaggregation(program.disaggregation);
      app.wire.setRules(program.rules);
      app.wire.setPolicy({
        version,
        scheduling: program.scheduling,
        bodyReadBytes: program.bodyReadBytes,
        debugHeaders: program.debugHeaders,
        reservedFields: program.reservedFields,
        isolation: program.isolation,
        staleMaxMs: program.staleMaxMs,
        loadTtlMs: program.scrape.engine?.ttlMs ?? app.config.scrape.ttlMs,
      });
      app.decisions.runs(version, app.wire.policyProgram());
      app.scraper.target = program.scrape.engine;
      app.attributeScraper.use(program.scrape.attributes);
      app.publisher.columns = needsColumns(program.scheduling)
        ? (now) => columnRows(program.scheduling, app.registry.pods, now)
        : null;
      // Behind the policy in the same broadcast: bits and columns are those of this program.
      app.wire.setColumns(app.publisher.columns?.(performance.now()) ?? []);
    };
    put(store.current);
    for (const { path, message } of store.current.notes)
      log.warn({ event_type: "policy", path }, `policy: ${path.join(".")} ${message}`);
    store.onChange = (active) => {
      put(active);
      app.publisher.touch();
    };
    new Gauge({
      name: "warmgate_policy_version",
      help: "Version of the policy in force; goes up by one with each change",
      registers: [app.prometheus],
      collect() {
        this.set(store.current.version);
      },
    });
    app.decorate("policy", store);
  },
  { name: "policy", dependencies: ["index-state", "table", "load", "metrics"] },
);
