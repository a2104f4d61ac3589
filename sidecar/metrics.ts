// What the sidecar counts, in the field's names (llmd_sidecar_*) so that dashboards keep working.
import { Counter, Gauge, Histogram, Registry } from "prom-client";

const DURATIONS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300];

/** How a prefill attempt ended. */
export type PrefillOutcome =
  | "ok"
  | "no_parameters"
  | "error_status"
  | "unreachable"
  | "timeout"
  | "malformed"
  /** The decode leg ended first. */
  | "cancelled"
  | "client_gone";

/** How the decode leg got its prompt: its own prefill without a header, a transfer, or its own after a failed prefill. */
export type DecodeKind = "local" | "transfer" | "recompute";

/** Why a decode pod computes a prompt again although a transfer was asked for. */
export type RecomputeReason = "no_parameters" | "prefill_failed";

/** One registry per sidecar: tests run several in a process. */
export class SidecarMetrics {
  readonly registry = new Registry();
  readonly requests = this.counter(
    "requests_total",
    "Requests by answered status (499: the client left)",
    "status",
  );
  readonly duration = this.histogram(
    "request_duration_seconds",
    "From a request's headers to the end of its answer",
  );
  readonly prefills = this.counter("prefill_requests_total", "Attempts at a prefill pod", "outcome");
  readonly decodes = this.counter("decode_requests_total", "Requests to the local engine", "kind");
  readonly transferBytes = this.counter(
    "kv_cache_transfer_bytes",
    "Handed-over blocks times --kv-block-bytes (0 when that is not given)",
  );
  readonly transferBlocks = this.counter(
    "kv_cache_transfer_blocks_total",
    "Blocks named in transfer parameters",
  );
  readonly transferTokens = this.counter(
    "kv_cache_transfer_tokens_total",
    "Tokens promised by remote_num_tokens; compare with vllm:prompt_tokens_by_source_total{source=external_kv_transfer}",
  );
  readonly transferDuration = this.histogram(
    "kv_cache_transfer_duration_seconds",
    "From the decode request to its first streamed byte: an upper bound of the transfer",
  );
  readonly recomputes = this.counter(
    "decode_recomputes_total",
    "Decodes that compute the prompt again although a transfer was asked for",
    "reason",
  );
  readonly unclaimed = this.counter(
    "unclaimed_transfers_total",
    "Prefills whose blocks no decode fetched: the prefill pod holds them until they expire",
  );
  readonly connectionErrors = this.counter("connection_errors_total", "Connections refused or broken", "leg");
  readonly ssrfBlocked = this.counter(
    "ssrf_blocked_requests_total",
    "Requests that named a prefill pod they may not",
  );
  readonly reserved = this.counter(
    "reserved_field_requests_total",
    "Requests with a field only a router may set",
  );
  readonly activeConnections = this.gauge("active_connections", "Open client connections");
  readonly inFlight = this.gauge("in_flight_requests", "Requests not answered to the end");
  readonly legsInFlight = this.gauge("in_flight_legs", "Upstream requests not answered to the end", "leg");
  readonly allowlistSize = this.gauge("allowlist_size", "Prefill pods (host:port) that may be dialled");
  readonly prefillPools = this.gauge("prefiller_pools", "Connection pools to prefill pods");

  private counter(name: string, help: string, ...labelNames: string[]): Counter {
    return new Counter({ name: `llmd_sidecar_${name}`, help, labelNames, registers: [this.registry] });
  }

  private gauge(name: string, help: string, ...labelNames: string[]): Gauge {
    return new Gauge({ name: `llmd_sidecar_${name}`, help, labelNames, registers: [this.registry] });
  }

  private histogram(name: string, help: string): Histogram {
    return new Histogram({
      name: `llmd_sidecar_${name}`,
      help,
      buckets: DURATIONS,
      registers: [this.registry],
    });
  }
}
