// Frames: the head, and the kinds. The payloads have files of their own beside this one; README.md is the prose of all.

/** "WGT1", little endian. */
// @ts-ignore: decorator
@inline
export const MAGIC: u32 = 0x31544757;
// @ts-ignore: decorator
@inline
export const FORMAT: u16 = 1;

// Head: magic u32, format u16, kind u16, leader u64, start ms u64, sequence u64, policy version u32, payload bytes u32,
// checksum u64.
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

// Agent to filter.
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
/** Prefill and decode on different pods; a reader that does not know this kind skips its frames. */
// @ts-ignore: decorator
@inline
export const KIND_DISAGGREGATION: u16 = 28;

// Filter to agent.
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
/** One decision, for people to look at. */
// @ts-ignore: decorator
@inline
export const KIND_DECISION: u16 = 40;
/** What this worker has under way. */
// @ts-ignore: decorator
@inline
export const KIND_SHARE: u16 = 41;
/** What was promised to decode pods. */
// @ts-ignore: decorator
@inline
export const KIND_TRANSFERS: u16 = 48;
/** What was predicted and what answers said, since the last one. */
// @ts-ignore: decorator
@inline
export const KIND_PREDICTIONS: u16 = 49;
/** Prompts that are matched approximately. */
// @ts-ignore: decorator
@inline
export const KIND_ROUTED: u16 = 50;
