// What differs between ways of moving KV blocks from a prefill to a decode pod: fields, order, headers.
import type { JsonChanges } from "../json-edit.js";
import type { Target } from "../prefiller.js";

/** What a decode request gets so that the decode pod fetches the blocks. */
export interface Transfer {
  changes: JsonChanges;
  /** Blocks that the parameters name; 0 where they name none. */
  blocks: number;
  /** Prompt tokens that the prefill pod promises; 0 where it says nothing. */
  tokens: number;
}

/** One request's exchange with one prefill pod. */
export interface Exchange {
  /** Changes of the prefill body, beside the limits. */
  prefill: JsonChanges;
  /** More headers of the prefill leg, flat. */
  prefillHeaders: readonly string[];
  /**
   * The transfer, known from the prefill pod's answer (serial connectors), or null when the answer promises none.
   * @throws JsonSyntaxError or SyntaxError when the answer is rubbish.
   */
  transferFrom?(answer: Buffer): Transfer | null;
  /** The transfer, known beforehand (concurrent connectors). */
  transfer?: Transfer;
}

/** A way of moving KV blocks. */
export interface Connector {
  /** Both legs run at once, or decode waits for the prefill answer. */
  readonly order: "serial" | "concurrent";
  /** False when the prefill pod must get the client's own limits and stream flag. */
  readonly oneToken: boolean;
  /** Whether the local engine can prefill by itself when the prefill pod fails. */
  readonly localPrefill: boolean;
  /** Top-level fields that only this connector's router may set, beside those reserved everywhere. */
  readonly ownFields: readonly string[];
  /** Reserved fields that clients of this connector set by design. */
  readonly clientFields: readonly string[];
  /** When this field stands in the request, the local engine is asked first, and prefill only if it declines. */
  readonly decodeFirst?: { field: string; declined: RegExp };
  /** Changes of the decode body when the local engine must prefill after all. */
  readonly recompute?: JsonChanges;
  /** Prepares an exchange. @throws UpstreamFailure when the prefill pod cannot be asked what the exchange needs. */
  exchange(target: Target, requestId: string): Exchange | Promise<Exchange>;
  /** Told when an exchange with the pod failed: forget what was learned about it. */
  failed?(target: Target): void;
}

/** Names of connectors on the command line. */
export const CONNECTOR_NAMES = ["nixlv2", "nixl", "lmcache", "shared-storage", "sglang", "mooncake"] as const;
export type ConnectorName = (typeof CONNECTOR_NAMES)[number];
