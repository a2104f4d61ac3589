// What one sidecar process shares among its requests.

import type { Logger } from "pino";
import type { Pool } from "undici";
import type { Alarm } from "./alarm.js";
import type { Allowlist } from "./allowlist.js";
import type { ClientLink } from "./client-link.js";
import type { Connector } from "./connectors/connector.js";
import type { BodyRules } from "./generation-body.js";
import type { SidecarMetrics } from "./metrics.js";
import type { SidecarOptions } from "./options.js";
import type { PoolCache } from "./pools.js";

/** The parts of a sidecar. */
export interface SidecarContext {
  options: SidecarOptions;
  log: Logger;
  metrics: SidecarMetrics;
  connector: Connector;
  rules: BodyRules;
  allowlist: Allowlist;
  prefillPools: PoolCache;
  /** Decodes that compute again although a transfer was asked for. */
  recomputeAlarm: Alarm;
  /** Prefill pods that were named and may not be dialled. */
  ssrfAlarm: Alarm;
}

/** One request on its way. */
export interface Passage {
  client: ClientLink;
  id: string;
  method: string;
  /** Path with query. */
  path: string;
  /** Headers of the decode leg, flat. */
  headers: string[];
  /** Connections to the local engine (one data-parallel rank of it). */
  engine: Pool;
}
