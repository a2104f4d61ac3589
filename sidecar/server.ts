// The process's servers: one per data-parallel rank, their TLS, and how they end.
import http, { type IncomingMessage, type ServerResponse } from "node:http";
import https from "node:https";
import type { AddressInfo } from "node:net";
import type { Logger } from "pino";
import type { Pool } from "undici";
import { StartError } from "../agent/errors.js";
import { Alarm } from "./alarm.js";
import { ALLOW_ALL, ALLOW_NONE, type Allowlist, fileAllowlist } from "./allowlist.js";
import { type Watched, watchedAuthorities, watchedCertificate } from "./certificates.js";
import { ClientLink } from "./client-link.js";
import { chooseConnector } from "./connectors/choose.js";
import type { SidecarContext } from "./context.js";
import { ClientGone, RequestRefused, sendError } from "./errors.js";
import { BodyRules } from "./generation-body.js";
import { inClusterAccess } from "./kube-api.js";
import { SidecarMetrics } from "./metrics.js";
import type { SidecarOptions } from "./options.js";
import { poolAllowlist } from "./pool-allowlist.js";
import { openPool, PoolCache, type UpstreamTls } from "./pools.js";
import { countedStatus, route } from "./route.js";
import { type KeyedCertificate, selfSignedCertificate } from "./self-signed.js";

/** Longer than gateways keep idle connections, so that it is they who close. */
const KEEP_ALIVE_MS = 310_000;
const HEADERS_TIMEOUT_MS = 30_000;
const MAX_HEADER_BYTES = 64 << 10;
/** How long a refused client may go on sending before its connection is cut. */
const LINGER_MS = 2000;
const MINUTE_MS = 60_000;

/** A running sidecar. */
export interface Sidecar {
  /** The ports it listens on, by rank. */
  ports: number[];
  metrics: SidecarMetrics;
  /** Takes no more connections, waits for what runs (at most the drain timeout), then closes everything. */
  close(): Promise<void>;
}

/**
 * Starts a sidecar.
 * @param allowlist instead of the one that the options name.
 * @throws ConfigError for unusable files; StartError when a port is not free.
 */
export async function startSidecar(
  options: SidecarOptions,
  log: Logger,
  allowlist: Allowlist = chooseAllowlist(options, log),
): Promise<Sidecar> {
  const closers: (() => unknown)[] = [() => allowlist.close()];
  const servers: http.Server[] = [];
  const engines: Pool[] = [];
  let authorities: Watched<string> | null = null;
  const tlsOf = (used: boolean, insecureSkipVerify: boolean): UpstreamTls | null =>
    used ? { insecureSkipVerify, ca: authorities?.current() ?? null } : null;
  const openEngines = () => {
    for (const pool of engines) pool.close().catch(() => {});
    const tls = tlsOf(options.decoderTls, options.decoderInsecure);
    const host = options.engineHost.includes(":") ? `[${options.engineHost}]` : options.engineHost;
    for (let rank = 0; rank < options.dataParallelSize; rank++) {
      engines[rank] = openPool(`${tls ? "https" : "http"}://${host}:${options.enginePort + rank}`, tls);
    }
  };
  const prefillPools = new PoolCache(options.prefillerPools, () =>
    tlsOf(options.prefillerTls, options.prefillerInsecure),
  );
  const { connector, destroy } = chooseConnector(options);
  const context: SidecarContext = {
    options,
    log,
    metrics: new SidecarMetrics(),
    connector,
    rules: new BodyRules(connector.ownFields, connector.clientFields),
    allowlist,
    prefillPools,
    recomputeAlarm: new Alarm(
      log,
      "the decode pod computes a prompt again although a transfer was asked for",
    ),
    ssrfAlarm: new Alarm(log, "a request named a prefill pod that it may not"),
  };
  closers.push(
    () => context.recomputeAlarm.close(),
    () => context.ssrfAlarm.close(),
  );
  let draining = false;
  try {
    if (options.caFile !== null) {
      authorities = watchedAuthorities(options.caFile, log, () => {
        openEngines();
        prefillPools.clear();
      });
      closers.push(authorities.close);
    }
    openEngines();
    let pair: KeyedCertificate | null = null;
    if (options.secureProxy) {
      if (options.certPath === null) {
        pair = selfSignedCertificate();
      } else {
        const certificate = watchedCertificate(options.certPath, log, (changed) => {
          for (const server of servers) (server as https.Server).setSecureContext(changed);
        });
        closers.push(certificate.close);
        pair = certificate.current();
      }
    }
    for (let rank = 0; rank < options.dataParallelSize; rank++) {
      const server = openServer(pair, (request, response) => {
        if (draining) response.setHeader("connection", "close");
        // Connections that fall idle while draining would keep the server open.
        else response.on("close", () => draining && setImmediate(() => server.closeIdleConnections()));
        void serve(context, engines, rank, request, response, draining);
      });
      server.on("connection", (socket) => {
        context.metrics.activeConnections.inc();
        socket.once("close", () => context.metrics.activeConnections.dec());
      });
      servers.push(server);
      await listen(server, options.host, options.port === 0 ? 0 : options.port + rank);
    }
  } catch (error) {
    await closeAll();
    throw error;
  }
  if (!options.ssrfProtection) closers.push(warnEveryMinute(log));

  async function closeAll(): Promise<void> {
    for (const server of servers) server.closeAllConnections();
    for (const server of servers) if (server.listening) server.close();
    for (const close of closers) close();
    await Promise.all([...engines.map((pool) => pool.destroy()), prefillPools.destroy(), destroy()]);
  }

  return {
    ports: servers.map((server) => (server.address() as AddressInfo).port),
    metrics: context.metrics,
    async close() {
      draining = true;
      const ended = Promise.all(servers.map((server) => new Promise((done) => server.close(done))));
      for (const server of servers) server.closeIdleConnections();
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise((done) => {
        timer = setTimeout(() => {
          log.warn(
            { drainTimeoutMs: options.drainTimeoutMs },
            "the drain timeout is over: running requests are cut",
          );
          done(null);
        }, options.drainTimeoutMs);
      });
      await Promise.race([ended, late]);
      clearTimeout(timer);
      await closeAll();
    },
  };
}

function chooseAllowlist(options: SidecarOptions, log: Logger): Allowlist {
  if (!options.ssrfProtection) return ALLOW_ALL;
  if (options.allowlistFile !== null) return fileAllowlist(options.allowlistFile, log);
  if (options.inferencePool !== null)
    return poolAllowlist(options.inferencePool, inClusterAccess(process.env), log);
  log.warn(
    "no list of prefill pods: every x-prefiller-host-port is refused; give --inference-pool or --allowlist-file",
  );
  return ALLOW_NONE;
}

function openServer(
  pair: KeyedCertificate | null,
  handler: (request: IncomingMessage, response: ServerResponse) => void,
): http.Server {
  const settings = {
    keepAliveTimeout: KEEP_ALIVE_MS,
    headersTimeout: HEADERS_TIMEOUT_MS,
    maxHeaderSize: MAX_HEADER_BYTES,
  };
  return pair
    ? https.createServer({ ...settings, ...pair, minVersion: "TLSv1.2" }, handler)
    : http.createServer(settings, handler);
}

async function serve(
  context: SidecarContext,
  engines: readonly Pool[],
  rank: number,
  request: IncomingMessage,
  response: ServerResponse,
  draining: boolean,
): Promise<void> {
  const { metrics } = context;
  const start = performance.now();
  metrics.inFlight.inc();
  response.on("close", () => {
    metrics.inFlight.dec();
    metrics.requests.inc({ status: countedStatus(response) });
    metrics.duration.observe((performance.now() - start) / 1000);
  });
  try {
    await route(context, engines, rank, request, new ClientLink(response), draining);
  } catch (error) {
    if (error instanceof ClientGone) {
      response.destroy();
    } else if (error instanceof RequestRefused) {
      refuse(request, response, error);
    } else {
      context.log.error({ err: error, url: request.url }, "a request failed");
      sendError(response, "internal", "the sidecar failed at this request; its log says why");
    }
  }
}

// A body that still comes is read and dropped for a moment: closing at once would lose the answer with a reset.
function refuse(request: IncomingMessage, response: ServerResponse, refused: RequestRefused): void {
  if (!request.complete && !response.headersSent) {
    response.setHeader("connection", "close");
    const timer = setTimeout(() => request.socket.destroy(), LINGER_MS);
    request.socket.once("close", () => clearTimeout(timer));
    request.resume();
  }
  sendError(response, refused.code, refused.message);
}

function listen(server: http.Server, host: string | undefined, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      const why =
        error.code === "EADDRINUSE"
          ? "the port is in use; stop the other process or choose another"
          : error.code;
      reject(new StartError(`--port ${port}: ${why}`));
    });
    server.listen({ port, ...(host === undefined ? {} : { host }) }, () => resolve());
  });
}

function warnEveryMinute(log: Logger): () => void {
  const warn = () =>
    log.warn(
      "SSRF protection is off: whoever sets x-prefiller-host-port makes this pod dial any host and port",
    );
  warn();
  const timer = setInterval(warn, MINUTE_MS);
  timer.unref();
  return () => clearInterval(timer);
}
