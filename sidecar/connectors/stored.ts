// Connectors whose blocks travel through a store that both pods know: no parameters, the prompt itself is the key.
import type { Connector, Exchange, Transfer } from "./connector.js";

const NOTHING_TO_ADD: Transfer = { changes: new Map(), blocks: 0, tokens: 0 };

const LMCACHE: Exchange = { prefill: new Map(), prefillHeaders: [], transferFrom: () => NOTHING_TO_ADD };

/** LMCache (deprecated): prefill with one token, then decode with the body as it is. */
export const lmcache: Connector = {
  order: "serial",
  oneToken: true,
  localPrefill: true,
  ownFields: [],
  clientFields: [],
  exchange: () => LMCACHE,
};

const THRESHOLD = "cache_hit_threshold";
// After the prefill the decode pod must not decline again.
const NEVER_DECLINE = new Map([[THRESHOLD, "0"]]);

const SHARED_STORAGE: Exchange = {
  prefill: NEVER_DECLINE,
  prefillHeaders: [],
  transferFrom: () => ({ changes: NEVER_DECLINE, blocks: 0, tokens: 0 }),
};

/**
 * Shared storage: with `cache_hit_threshold` in the request the decode pod is asked first and declines with
 * finish_reason "cache_threshold" when too little of the prompt is cached.
 */
export const sharedStorage: Connector = {
  order: "serial",
  oneToken: true,
  localPrefill: true,
  ownFields: [],
  clientFields: [THRESHOLD],
  // A quote inside generated text is escaped, so this cannot be the model's own words.
  decodeFirst: { field: THRESHOLD, declined: /"finish_reason"\s*:\s*"cache_threshold"/ },
  recompute: NEVER_DECLINE,
  exchange: () => SHARED_STORAGE,
};
