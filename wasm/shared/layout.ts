// Every number of the wire format that more than one file needs. README.md beside this file is its prose.

/** "WGT1", little endian. */
// @ts-ignore: decorator
@inline
export const MAGIC: u32 = 0x31544757;
// @ts-ignore: decorator
@inline
export const FORMAT: u16 = 1;

/** Frame head: magic u32, format u16, kind u16, leader u64, start ms u64, sequence u64, policy version u32, payload bytes u32, checksum u64. */
// @ts-ignore: decorator
@inline
export const HEAD_BYTES: u32 = 48;
// @ts-ignore: decorator
@inline
export const HEAD_KIND: u32 = 6;
// @ts-ignore: decorator
@inline
export const HEAD_LEADER: u32 = 8;
// @ts-ignore: decorator
@inline
export const HEAD_START: u32 = 16;
// @ts-ignore: decorator
@inline
export const HEAD_SEQUENCE: u32 = 24;
// @ts-ignore: decorator
@inline
export const HEAD_POLICY: u32 = 32;
// @ts-ignore: decorator
@inline
export const HEAD_LENGTH: u32 = 36;
// @ts-ignore: decorator
@inline
export const HEAD_CHECKSUM: u32 = 40;

/** Longest payload of a frame in bytes, so that no frame holds a worker for much more than a millisecond. */
// @ts-ignore: decorator
@inline
export const MAX_PAYLOAD: u32 = 1048576 - HEAD_BYTES;

/** Bit of the kind: the frame is part of a snapshot and means nothing outside it. */
// @ts-ignore: decorator
@inline
export const KIND_INSIDE: u16 = 256;
// Frame kinds, agent to filter.
// @ts-ignore: decorator
@inline
export const KIND_SNAPSHOT_BEGIN: u16 = 1;
// @ts-ignore: decorator
@inline
export const KIND_SNAPSHOT_PIECE: u16 = 2;
// @ts-ignore: decorator
@inline
export const KIND_SNAPSHOT_END: u16 = 3;
// @ts-ignore: decorator
@inline
export const KIND_DELTA: u16 = 4;
// @ts-ignore: decorator
@inline
export const KIND_PODS: u16 = 5;
// @ts-ignore: decorator
@inline
export const KIND_LOADS: u16 = 6;
// @ts-ignore: decorator
@inline
export const KIND_MODELS: u16 = 7;
// @ts-ignore: decorator
@inline
export const KIND_POLICY: u16 = 8;
/** Nothing changed, the agent is alive. */
// @ts-ignore: decorator
@inline
export const KIND_HEARTBEAT: u16 = 9;
/** What the policy's plugins need of pods (program-layout.ts). */
// @ts-ignore: decorator
@inline
export const KIND_COLUMNS: u16 = 16;
/** Rules for requests: trust, priorities, caps, rewrites, saturation, queue. */
// @ts-ignore: decorator
@inline
export const KIND_RULES: u16 = 24;
/** What other gateways have under way; no broadcast, so outside the sequence. */
// @ts-ignore: decorator
@inline
export const KIND_FOREIGN: u16 = 25;
// Frame kinds, filter to agent.
// @ts-ignore: decorator
@inline
export const KIND_HELLO: u16 = 32;
// @ts-ignore: decorator
@inline
export const KIND_REPORT: u16 = 33;
/** The reader saw a gap or a new epoch and asks for a snapshot. */
// @ts-ignore: decorator
@inline
export const KIND_RESYNC: u16 = 34;

/** What this worker has under way. */
// @ts-ignore: decorator
@inline
export const KIND_SHARE: u16 = 41;
/** One decision, for people to look at. */
// @ts-ignore: decorator
@inline
export const KIND_DECISION: u16 = 40;

// Runs inside a delta: kind u16, count u16, then count rows.
/** Row: set id u16, 6 bytes of padding, then the mask (mask words × 8 bytes). */
// @ts-ignore: decorator
@inline
export const RUN_SETS: u16 = 1;
/** Row: hash u64, set id u16, tokens/16 u16. */
// @ts-ignore: decorator
@inline
export const RUN_PUTS: u16 = 2;
/** Row: hash u64. */
// @ts-ignore: decorator
@inline
export const RUN_REMOVES: u16 = 3;
// @ts-ignore: decorator
@inline
export const PUT_BYTES: u32 = 12;
/** Rows of all runs of one delta frame together. */
// @ts-ignore: decorator
@inline
export const MAX_DELTA_ROWS: u32 = 4096;

// @ts-ignore: decorator
@inline
export const MAX_PODS: u32 = 1024;
// @ts-ignore: decorator
@inline
export const MAX_MODELS: u32 = 256;
// @ts-ignore: decorator
@inline
export const MAX_SETS: u32 = 65536;

// Roles of a pod, bits.
// @ts-ignore: decorator
@inline
export const ROLE_DECODE: u32 = 1;
// @ts-ignore: decorator
@inline
export const ROLE_PREFILL: u32 = 2;

// Pod row of KIND_PODS: slot u16, flags u8 (bit 0 ready, bit 1 only known approximately), role u8, model u16, name length u8, address length u8,
// kv block tokens u32, capacity tokens u32, waiting u32, running u32, kv usage per mille u32, load age ms u32,
// prefill tokens per second f64, then name and address bytes, padded to 8.
// @ts-ignore: decorator
@inline
export const POD_ROW_BYTES: u32 = 40;
// Load row of KIND_LOADS: slot u16, flags u8, pad u8, waiting u32, running u32, kv usage per mille u32, age ms u32.
// @ts-ignore: decorator
@inline
export const LOAD_ROW_BYTES: u32 = 20;
/** Age of a load column that was never read. */
// @ts-ignore: decorator
@inline
export const AGE_NEVER: u32 = 0xffffffff;

// Model row of KIND_MODELS: name length u16, model u16, template index u16 (0xffff none), pad u16, root u64,
// bytes per token f32, pad u32, then the name padded to 8. Payload: row count u16, template count u16, pad u32,
// rows, then per template its blob padded to 8 (a blob starts with its own size).
// @ts-ignore: decorator
@inline
export const MODEL_ROW_BYTES: u32 = 24;

// Template blob: size u32, flags u8, strip u8 × 3 (system, user, assistant), BOS offset u32, BOS length u32, then 36
// joints of offset u32, length u32, then the offsets of the turn programs without tools and with them, u32 each, 0 =
// none, then offset u32 and length u32 of what thinking off adds to the generation prompt (with PLAIN_THINKING alone).
// Offsets count from the blob's start. A length of JOINT_UNKNOWN means that nothing is known.
// @ts-ignore: decorator
@inline
export const TEMPLATE_FLAGS: u32 = 4;
// @ts-ignore: decorator
@inline
export const TEMPLATE_STRIP: u32 = 4;
// @ts-ignore: decorator
@inline
export const TEMPLATE_BOS: u32 = 8;
// @ts-ignore: decorator
@inline
export const TEMPLATE_JOINTS: u32 = 16;
// @ts-ignore: decorator
@inline
export const TEMPLATE_TURNS: u32 = 304;
// @ts-ignore: decorator
@inline
export const TEMPLATE_THINKING: u32 = 312;
// @ts-ignore: decorator
@inline
export const TEMPLATE_LITERALS: u32 = 320;
/** Bits of TEMPLATE_FLAGS: lists of text parts are unknown. */
// @ts-ignore: decorator
@inline
export const PLAIN_PARTS_UNKNOWN: u32 = 1;
/** Parts are joined by nothing instead of a line feed. */
// @ts-ignore: decorator
@inline
export const PLAIN_PARTS_CONCATENATED: u32 = 2;
/** Shifted by kind - 1: empty texts of system, user, assistant are unknown. */
// @ts-ignore: decorator
@inline
export const PLAIN_EMPTY_UNKNOWN: u32 = 4;
/** Assistant text with "</think>" in it is unknown. */
// @ts-ignore: decorator
@inline
export const PLAIN_THINK_UNKNOWN: u32 = 32;
/** TEMPLATE_THINKING is there: `enable_thinking` in `chat_template_kwargs` is exact. */
// @ts-ignore: decorator
@inline
export const PLAIN_THINKING: u32 = 64;

// Turn program: system's place u8, tools' place u8, flags u16, tool indent u8, tool level u8, arguments indent u8, roles
// whose empty text is unknown u8 (bits: system, user, assistant, tool), call fields u8 × 3, result fields u8 × 2, what
// becomes of a tool's strict u8, exact shapes u16, edits u8 by kind, then by previous and next kind a joint of offset u32
// and length u32. Numbers are indices of the lists in agent/model/turn-program.ts.
// @ts-ignore: decorator
@inline
export const TURNS_SYSTEM_AT: u32 = 0;
// @ts-ignore: decorator
@inline
export const TURNS_TOOLS_AT: u32 = 1;
// @ts-ignore: decorator
@inline
export const TURNS_FLAGS: u32 = 2;
// @ts-ignore: decorator
@inline
export const TURNS_TOOL_INDENT: u32 = 4;
// @ts-ignore: decorator
@inline
export const TURNS_TOOL_LEVEL: u32 = 5;
// @ts-ignore: decorator
@inline
export const TURNS_ARGUMENTS_INDENT: u32 = 6;
// @ts-ignore: decorator
@inline
export const TURNS_EMPTY: u32 = 7;
// @ts-ignore: decorator
@inline
export const TURNS_CALL_FIELDS: u32 = 8;
// @ts-ignore: decorator
@inline
export const TURNS_RESULT_FIELDS: u32 = 11;
// @ts-ignore: decorator
@inline
export const TURNS_STRICT: u32 = 13;
// @ts-ignore: decorator
@inline
export const TURNS_SHAPES: u32 = 14;
// @ts-ignore: decorator
@inline
export const TURNS_EDITS: u32 = 16;
// @ts-ignore: decorator
@inline
export const TURNS_JOINTS: u32 = 40;
// @ts-ignore: decorator
@inline
export const TURN_KINDS: u32 = 24;
// @ts-ignore: decorator
@inline
export const TURNS_BYTES: u32 = 4648;
/** Bits of TURNS_FLAGS. */
// @ts-ignore: decorator
@inline
export const TURNS_TOOLS_FIRST: u32 = 1;
// @ts-ignore: decorator
@inline
export const TURNS_BARE_TOOL: u32 = 2;
// @ts-ignore: decorator
@inline
export const TURNS_PARTS_CONCATENATED: u32 = 4;
// @ts-ignore: decorator
@inline
export const TURNS_THINK_UNKNOWN: u32 = 8;
// @ts-ignore: decorator
@inline
export const TURNS_NAME_INERT: u32 = 16;
// @ts-ignore: decorator
@inline
export const TURNS_ESCAPED_TOOL: u32 = 32;
// @ts-ignore: decorator
@inline
export const TURNS_REPEATED_UNKNOWN: u32 = 64;
// @ts-ignore: decorator
@inline
export const JOINT_UNKNOWN: u32 = 0xffffffff;

// Policy payload, fixed offsets: version u32, isolation u32 (0 none, 1 salt), 24 bytes zero, body read bytes u32, block bytes u32, debug headers u32,
// stale ms u32, load TTL ms u32, reserved field action u32, salt key 2 × u64, block key (KEY_WORDS × u64); then the
// scheduling program (program-layout.ts).
// @ts-ignore: decorator
@inline
export const POLICY_VERSION: u32 = 0;
// @ts-ignore: decorator
@inline
export const POLICY_ISOLATION: u32 = 4;
// @ts-ignore: decorator
@inline
export const POLICY_BODY_READ: u32 = 32;
// @ts-ignore: decorator
@inline
export const POLICY_BLOCK_BYTES: u32 = 36;
// @ts-ignore: decorator
@inline
export const POLICY_DEBUG_HEADERS: u32 = 40;
// @ts-ignore: decorator
@inline
export const POLICY_STALE_MS: u32 = 44;
// @ts-ignore: decorator
@inline
export const POLICY_LOAD_TTL_MS: u32 = 48;
// @ts-ignore: decorator
@inline
export const POLICY_RESERVED: u32 = 52;
// @ts-ignore: decorator
@inline
export const POLICY_SALT_KEY: u32 = 56;
// @ts-ignore: decorator
@inline
export const POLICY_BLOCK_KEY: u32 = 72;
// @ts-ignore: decorator
@inline
export const POLICY_BYTES: u32 = 328;

// @ts-ignore: decorator
@inline
export const DEBUG_NONE: u32 = 0;
// @ts-ignore: decorator
@inline
export const DEBUG_TRUSTED: u32 = 1;
// @ts-ignore: decorator
@inline
export const DEBUG_ALL: u32 = 2;

// @ts-ignore: decorator
@inline
export const RESERVED_REJECT: u32 = 0;
// @ts-ignore: decorator
@inline
export const RESERVED_ALLOW: u32 = 1;

// Hello payload: lowest format u16, highest format u16, flags u32 (bit 0 main thread), process id u64, VM id u64,
// build u64.
// @ts-ignore: decorator
@inline
export const HELLO_BYTES: u32 = 32;

// Report payload: process id u64, VM id u64, flags u32 (bit 0 lease holder), pod rows u32, 28 counters u64, then per
// pod: address length u32, in-flight requests u32, in-flight tokens u64, requests u64, prompt tokens u64, predicted
// tokens u64, first tokens seen u64, first token time µs u64, uncached tokens of those u64, address padded to 8.
// @ts-ignore: decorator
@inline
export const REPORT_COUNTERS: u32 = 24;
// @ts-ignore: decorator
@inline
export const REPORT_COUNTER_COUNT: u32 = 29;
// @ts-ignore: decorator
@inline
export const REPORT_HEAD_BYTES: u32 = 256;
// @ts-ignore: decorator
@inline
export const REPORT_ROW_BYTES: u32 = 64;

// Rules payload: fixed fields, then `rows` rows.
// @ts-ignore: decorator
@inline
export const RULES_FLAGS: u32 = 0;
// @ts-ignore: decorator
@inline
export const RULES_MAX_TIMEOUT_MS: u32 = 4;
// @ts-ignore: decorator
@inline
export const RULES_MAX_RETRIES: u32 = 8;
// @ts-ignore: decorator
@inline
export const RULES_DETECTOR: u32 = 12;
// @ts-ignore: decorator
@inline
export const RULES_MODE: u32 = 16;
// @ts-ignore: decorator
@inline
export const RULES_SLOW_SHARING_MS: u32 = 20;
// @ts-ignore: decorator
@inline
export const RULES_QUEUE_DEPTH: u32 = 24;
// @ts-ignore: decorator
@inline
export const RULES_KV_USAGE: u32 = 32;
// @ts-ignore: decorator
@inline
export const RULES_HEADROOM: u32 = 40;
// @ts-ignore: decorator
@inline
export const RULES_MAX_CONCURRENCY: u32 = 48;
// @ts-ignore: decorator
@inline
export const RULES_MAX_TOKENS: u32 = 56;
// @ts-ignore: decorator
@inline
export const RULES_QUEUE_REQUESTS: u32 = 64;
// @ts-ignore: decorator
@inline
export const RULES_QUEUE_BYTES: u32 = 68;
// @ts-ignore: decorator
@inline
export const RULES_QUEUE_BODY: u32 = 72;
// @ts-ignore: decorator
@inline
export const RULES_QUEUE_TTL_MS: u32 = 76;
// @ts-ignore: decorator
@inline
export const RULES_SAMPLE: u32 = 80;
// @ts-ignore: decorator
@inline
export const RULES_ROWS: u32 = 84;
// @ts-ignore: decorator
@inline
export const RULES_HEAD_BYTES: u32 = 88;
/** Longest rules payload in bytes; readers keep a region of this size. */
// @ts-ignore: decorator
@inline
export const RULES_MAX_BYTES: u32 = 65536;

// Flags of the rules.
// @ts-ignore: decorator
@inline
export const RULES_QUEUE_ON: u32 = 1;
// @ts-ignore: decorator
@inline
export const RULES_FILTER_STATE: u32 = 2;
/** warm-until-busy decides also while counts of other gateways come late. */
// @ts-ignore: decorator
@inline
export const RULES_KEEP_WHEN_SLOW: u32 = 4;
/** The gateway's own filters may say in metadata which pods a request may go to. */
// @ts-ignore: decorator
@inline
export const RULES_SUBSET_METADATA: u32 = 8;

// Saturation detectors, and what the concurrency detector counts.
// @ts-ignore: decorator
@inline
export const DETECTOR_NONE: u32 = 0;
// @ts-ignore: decorator
@inline
export const DETECTOR_UTILIZATION: u32 = 1;
// @ts-ignore: decorator
@inline
export const DETECTOR_CONCURRENCY: u32 = 2;
// @ts-ignore: decorator
@inline
export const CONCURRENCY_REQUESTS: u32 = 0;
// @ts-ignore: decorator
@inline
export const CONCURRENCY_TOKENS: u32 = 1;
// @ts-ignore: decorator
@inline
export const CONCURRENCY_HYBRID: u32 = 2;

// Rule row: kind u8, zero u8, text length u16, number i32, text padded to 8.
// @ts-ignore: decorator
@inline
export const RULE_ROW_BYTES: u32 = 8;
/** URI SAN or subject of a trusted client certificate; a final "*" stands for any end. */
// @ts-ignore: decorator
@inline
export const RULE_PRINCIPAL: u32 = 1;
/** Name of the header that carries a verified claim. */
// @ts-ignore: decorator
@inline
export const RULE_CLAIM_HEADER: u32 = 2;
/** Value of it that is trusted. */
// @ts-ignore: decorator
@inline
export const RULE_CLAIM_VALUE: u32 = 3;
/** SHA-256 of a trusted credential, 32 bytes. */
// @ts-ignore: decorator
@inline
export const RULE_TOKEN: u32 = 4;
/** Name of an objective; number = its priority. */
// @ts-ignore: decorator
@inline
export const RULE_OBJECTIVE: u32 = 5;
/** Model that a trusted caller may ask for instead. */
// @ts-ignore: decorator
@inline
export const RULE_OVERRIDE: u32 = 6;
/** Model that is rewritten; its targets are the next rows of kind RULE_TARGET. */
// @ts-ignore: decorator
@inline
export const RULE_REWRITE: u32 = 7;
/** Target of the rewrite before it; number = its weight. */
// @ts-ignore: decorator
@inline
export const RULE_TARGET: u32 = 8;

// Decision payload: table sequence u64, policy version u32, reason u8, controls u8, model u16, prompt tokens u32,
// predicted cached tokens u32, priority i32, scheduling µs u32, request id length u16, rows u16, pods that passed u16,
// pods considered u16; then what the pick knew of the request, zero without a pick: prompt tokens f64, spread u64,
// session u64, seed u64, requests per second and pod f64, time ns u64, hashes of 4 headers u64, profile u8, flags u8,
// columns u8, 5 bytes zero; then the request id padded to 8, then rows, one for each ready pod, as it was before the
// request counted: address length u16, rank u8 (1 is the pod, 2 and 3 come next, 0 the others), flags u8, cached tokens
// that counted u32, cost f64, requests in flight u32, prefills pending u32, slot u16, place in the order of last choices
// u16 (1 = longest ago, 0 = none), the same of those that hit no cache u16, zero u16, pending work f64, pending tokens
// f64, ns since when the head of its prefills is at work u64, waiting u32, running u32, kv usage per mille u32, capacity
// u32, prefill rate f64, label bits u64, columns f32, address padded to 8.
// @ts-ignore: decorator
@inline
export const DECISION_HEAD_BYTES: u32 = 128;
// @ts-ignore: decorator
@inline
export const DECISION_ID_SIZE: u32 = 32;
// @ts-ignore: decorator
@inline
export const DECISION_ROWS: u32 = 34;
// @ts-ignore: decorator
@inline
export const DECISION_PASSED: u32 = 36;
// @ts-ignore: decorator
@inline
export const DECISION_CONSIDERED: u32 = 38;
// @ts-ignore: decorator
@inline
export const DECISION_TOKENS: u32 = 40;
// @ts-ignore: decorator
@inline
export const DECISION_SPREAD: u32 = 48;
// @ts-ignore: decorator
@inline
export const DECISION_SESSION: u32 = 56;
// @ts-ignore: decorator
@inline
export const DECISION_SEED: u32 = 64;
// @ts-ignore: decorator
@inline
export const DECISION_RATE: u32 = 72;
// @ts-ignore: decorator
@inline
export const DECISION_TIME: u32 = 80;
// @ts-ignore: decorator
@inline
export const DECISION_HEADERS: u32 = 88;
// @ts-ignore: decorator
@inline
export const DECISION_PROFILE: u32 = 120;
// @ts-ignore: decorator
@inline
export const DECISION_FLAGS: u32 = 121;
// @ts-ignore: decorator
@inline
export const DECISION_COLUMNS: u32 = 122;
// @ts-ignore: decorator
@inline
export const DECISION_ROW_BYTES: u32 = 88;
// @ts-ignore: decorator
@inline
export const DECISION_MAX_ROWS: u32 = 256;
// Flags of a decision.
/** Counts of other gateways came late. */
// @ts-ignore: decorator
@inline
export const DECISION_SHARING_SLOW: u8 = 1;
/** Therefore token-aware stood in for warm-until-busy. */
// @ts-ignore: decorator
@inline
export const DECISION_STOOD_IN: u8 = 2;
/** There were more pods than a record holds. */
// @ts-ignore: decorator
@inline
export const DECISION_CUT: u8 = 4;
// @ts-ignore: decorator
@inline
export const DECISION_COLUMNS_FRESH: u8 = 8;
// Flags of a decision's row.
/** Its scraped columns were young enough to use. */
// @ts-ignore: decorator
@inline
export const ROW_FRESH: u8 = 1;
/** It was left out, because it had refused connections. */
// @ts-ignore: decorator
@inline
export const ROW_OUT: u8 = 2;
/** It had the session. */
// @ts-ignore: decorator
@inline
export const ROW_SESSION: u8 = 4;
// What it had of the adapter that was asked for.
// @ts-ignore: decorator
@inline
export const ROW_ADAPTER_ACTIVE: u8 = 8;
// @ts-ignore: decorator
@inline
export const ROW_ADAPTER_WAITING: u8 = 16;
// @ts-ignore: decorator
@inline
export const ROW_ADAPTER_ROOM: u8 = 32;

// Reasons of a decision.
// @ts-ignore: decorator
@inline
export const DECISION_ROUTED: u32 = 0;
// @ts-ignore: decorator
@inline
export const DECISION_NO_TABLE: u32 = 1;
// @ts-ignore: decorator
@inline
export const DECISION_NO_PODS: u32 = 2;
// @ts-ignore: decorator
@inline
export const DECISION_FILTERED_OUT: u32 = 3;
// @ts-ignore: decorator
@inline
export const DECISION_SATURATED: u32 = 4;
// @ts-ignore: decorator
@inline
export const DECISION_NOT_CACHED: u32 = 5;
// @ts-ignore: decorator
@inline
export const DECISION_SUBSET_EMPTY: u32 = 6;

// Share payload: sender's monotonic ns u64, flags u32, rows u32, then rows:
// address length u32, requests u32, prefills u32, zero u32, prefill work u64, prefill tokens u64, address padded to 8.
// @ts-ignore: decorator
@inline
export const SHARE_HEAD_BYTES: u32 = 16;
// @ts-ignore: decorator
@inline
export const SHARE_ROW_BYTES: u32 = 32;

/** All rows: pods that are left out have nothing. */
// @ts-ignore: decorator
@inline
export const SHARE_WHOLE: u32 = 1;
/** Counts of others come too late to the sender. */
// @ts-ignore: decorator
@inline
export const SHARE_SLOW: u32 = 2;

// Foreign payload: ns of the reader's last share u64 (0: none that an answer is due to), other gateways u32, rows u32, then rows: slot u32,
// requests u32, prefills u32, zero u32, prefill work f64, prefill tokens f64.
// @ts-ignore: decorator
@inline
export const FOREIGN_HEAD_BYTES: u32 = 16;
// @ts-ignore: decorator
@inline
export const FOREIGN_ROW_BYTES: u32 = 32;
// Prefill/decode. These kinds stand apart from the others: a reader that does not know them skips their frames.
/** Agent to filter: the disaggregation policy. */
// @ts-ignore: decorator
@inline
export const KIND_DISAGGREGATION: u16 = 28;
/** Filter to agent: what was promised to decode pods. */
// @ts-ignore: decorator
@inline
export const KIND_TRANSFERS: u16 = 48;

// Disaggregation payload: mode u32, threshold tokens u32, timeout ms u32, on failure u32, calls u32, body bytes u32,
// expiry ms u32, prompt tokens u32, transfer tokens per second f64, stall weight f64, by u32, pad u32.
// @ts-ignore: decorator
@inline
export const DISAGGREGATION_MODE: u32 = 0;
// @ts-ignore: decorator
@inline
export const DISAGGREGATION_THRESHOLD: u32 = 4;
// @ts-ignore: decorator
@inline
export const DISAGGREGATION_TIMEOUT_MS: u32 = 8;
// @ts-ignore: decorator
@inline
export const DISAGGREGATION_FAILURE: u32 = 12;
// @ts-ignore: decorator
@inline
export const DISAGGREGATION_CALLS: u32 = 16;
// @ts-ignore: decorator
@inline
export const DISAGGREGATION_BODY_BYTES: u32 = 20;
// @ts-ignore: decorator
@inline
export const DISAGGREGATION_EXPIRY_MS: u32 = 24;
// @ts-ignore: decorator
@inline
export const DISAGGREGATION_PROMPT: u32 = 28;
// @ts-ignore: decorator
@inline
export const DISAGGREGATION_TOKENS_PER_SECOND: u32 = 32;
// @ts-ignore: decorator
@inline
export const DISAGGREGATION_STALL_WEIGHT: u32 = 40;
// @ts-ignore: decorator
@inline
export const DISAGGREGATION_BY: u32 = 48;
// @ts-ignore: decorator
@inline
export const DISAGGREGATION_BYTES: u32 = 56;

/** One pod does all. */
// @ts-ignore: decorator
@inline
export const SPLIT_NONE: u32 = 0;
/** Above the threshold and when it is predicted to pay. */
// @ts-ignore: decorator
@inline
export const SPLIT_WHEN_IT_PAYS: u32 = 1;
/** Always above the threshold. */
// @ts-ignore: decorator
@inline
export const SPLIT_ALWAYS: u32 = 2;

/** The filter sends the prefill and hands its parameters over. */
// @ts-ignore: decorator
@inline
export const SPLIT_BY_GATEWAY: u32 = 0;
/** The filter names the prefill pods; the decode pod's sidecar does the rest. */
// @ts-ignore: decorator
@inline
export const SPLIT_BY_SIDECAR: u32 = 1;

/** When no prefill pod delivers, the decode pod prefills. */
// @ts-ignore: decorator
@inline
export const FAILURE_LOCAL: u32 = 0;
/** When no prefill pod delivers, the client gets an error. */
// @ts-ignore: decorator
@inline
export const FAILURE_ERROR: u32 = 1;

// Transfers payload: process id u64, VM id u64, pod rows u32, pad u32, TRANSFER_COUNTERS × u64, then per pod: address
// length u32, pad u32, transfers u64, promised tokens u64, address padded to 8.
// @ts-ignore: decorator
@inline
export const TRANSFERS_ROWS: u32 = 16;
// @ts-ignore: decorator
@inline
export const TRANSFERS_COUNTERS: u32 = 24;
// @ts-ignore: decorator
@inline
export const TRANSFER_COUNTER_COUNT: u32 = 13;
// @ts-ignore: decorator
@inline
export const TRANSFERS_HEAD_BYTES: u32 = 128;
// @ts-ignore: decorator
@inline
export const TRANSFERS_ROW_BYTES: u32 = 24;

// Predictions, filter to agent: what was counted since the last one. Payload: rows u32, zero u32, then per pod: address
// length u32, zero u32, requests u64, tokens that announced blocks promised of them u64, answers that said what was
// cached u64, tokens promised of these u64, tokens cached u64, answers with too much promised u64, too little u64, then
// PREDICTIONS_TENANTS × (tenant u32 (0 = no record), requests u32, answers u32, right answers u32, tokens promised
// u64), then the address padded to 8.
// @ts-ignore: decorator
@inline
export const KIND_PREDICTIONS: u16 = 49;
// @ts-ignore: decorator
@inline
export const PREDICTIONS_HEAD_BYTES: u32 = 8;
// @ts-ignore: decorator
@inline
export const PREDICTIONS_TENANTS: u32 = 8;
// @ts-ignore: decorator
@inline
export const PREDICTIONS_TENANT_BYTES: u32 = 24;
// @ts-ignore: decorator
@inline
export const PREDICTIONS_ROW_BYTES: u32 = 256;
/** Stands for all tenants that found no record of their own. */
// @ts-ignore: decorator
@inline
export const TENANT_OTHERS: u32 = 0xffffffff;

// Routed blocks, filter to agent: prompts that are matched approximately. Payload: rows u32, zero u32, then per prompt:
// address length u32, blocks u32, tokens of a block f64, address padded to 8, block hashes u64.
// @ts-ignore: decorator
@inline
export const KIND_ROUTED: u16 = 50;
// @ts-ignore: decorator
@inline
export const ROUTED_HEAD_BYTES: u32 = 8;
// @ts-ignore: decorator
@inline
export const ROUTED_ROW_BYTES: u32 = 16;
