// Owns the gRPC server of the table stream; server.ts makes it listen.
import fp from "fastify-plugin";
import { DecisionLog } from "../decisions/log.js";
import { GatewayReports } from "../table/gateway-reports.js";
import { SharedLoad, slowSharing } from "../table/shared-load.js";
import { StreamServer } from "../table/stream-server.js";
import { TransferWatch } from "../table/transfer-watch.js";

declare module "fastify" {
  interface FastifyInstance {
    tableStream: StreamServer;
    reports: GatewayReports;
    decisions: DecisionLog;
    sharing: SharedLoad;
    transfers: TransferWatch;
  }
}

export default fp(
  async (app) => {
    const reports = new GatewayReports();
    const decisions = new DecisionLog();
    const slotOf = (address: string) =>
      app.registry.pods.find(({ config }) => config.address === address)?.slot;
    const shared = new SharedLoad(app.wire, slotOf);
    const transfers = new TransferWatch(app.pino.child({ component: "disaggregation" }));
    const stream = new StreamServer({
      wire: app.wire,
      publisher: app.publisher,
      token: app.config.token,
      log: app.pino.child({ component: "table" }),
      onReport: (report) => reports.take(report, performance.now()),
      onShare: (share, sink) => shared.take(share, sink, performance.now()),
      onDecision: (decision) => decisions.take(decision, Date.now()),
      onTransfers: (message) => transfers.take(message, performance.now()),
      onPredictions: (rows) => app.predictions.take(rows),
      onRouted: (rows) => app.approximate.take(rows),
    });
    app.readiness.note(() =>
      shared.slowGateways > 0 ? [{ code: "sharing_slow", detail: slowSharing(shared.slowGateways) }] : [],
    );
    app.decorate("sharing", shared);
    app.decorate("decisions", decisions);
    app.decorate("reports", reports);
    app.decorate("transfers", transfers);
    app.decorate("tableStream", stream);
    app.addHook("preClose", async () => {
      shared.stop();
      stream.stop();
    });
  },
  { name: "table-stream", dependencies: ["table", "predictions", "approximate"] },
);
