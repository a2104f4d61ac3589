// The compiled scheduling program inside the policy section: what each plugin of an EndpointPickerConfig becomes.
// README.md beside this file has its prose. wire.wasm exports the enums, so that Node knows the numbers by name.

/** What an operation does; docs/policy.md has each formula. `a`, `p0`–`p3` and `flags` are the fields of its row. */
export enum Op {
  /** No row of a program: the pods of the profile's role and the request's model that are ready are what it begins with. */
  Ready = 0,
  // Filters: below 32. They drop candidates.
  /** Keep pods whose label bit `a` is set. */
  FilterLabels = 1,
  /** p0 threshold, p1 exploration probability, p2 longest TTFT penalty ms, p3 peak prefill tokens per second. */
  FilterPrefixAffinity = 2,
  /** p0 TTL ms, a stickiness. */
  FilterSession = 3,
  /** p0–p3: most in-flight requests, running, waiting, KV-cache use; infinite = any. */
  FilterUtilization = 4,
  /** a column, p0 value, flags: comparison << 4, bit 0 fall back on empty, bit 1 drop pods without the value. */
  FilterAttribute = 5,
  /** p0: how often adapters' own pods are preferred to pods with room, 0–1. */
  FilterLora = 6,
  /** a: column of the range's lower end, the next one has the upper end. */
  FilterContextLength = 7,
  /** a: first instruction, p0: instructions. Keep pods where it is not 0. */
  FilterExpression = 8,
  // Scorers: 32 to 95. They give each candidate a score from 0 to 1.
  Queue = 32,
  Running = 33,
  KvUsage = 34,
  /** p0 threshold. */
  LoadAware = 35,
  /** p0 longest queue, p1 queue weight, p2 KV-cache weight. */
  LoadBlend = 36,
  /** p0 idle threshold, p1 score of a busy pod at most. */
  ActiveRequests = 37,
  /** p0 threshold tokens. */
  TokenLoad = 38,
  /** p0 length weight, p1 length scale tokens, p2 least share of a hit, p3 most tokens that count (0 = all). */
  Prefix = 39,
  Lora = 40,
  /** p0 TTL ms, a stickiness. */
  Session = 41,
  /** p0: how many pods are remembered. */
  NoHitLru = 42,
  /** a: column of the range's lower end, the next one has the upper end. */
  ContextLength = 43,
  /** a column, p0 least, p1 most, flags: bit 0 lower is better, bit 1 the range is p0–p1. */
  Attribute = 44,
  /** a: header, p0: column with the hash of the label's value. */
  HeaderLabel = 45,
  Random = 46,
  /** a: first instruction, p0: instructions. */
  Expression = 47,
  WarmUntilBusy = 48,
  RoundRobin = 49,
  // Pickers: from 96. One, and last.
  /** a: how ties are broken. */
  MaxScore = 96,
  WeightedRandom = 97,
  RandomPick = 98,
}

/** One more than the highest kind that filters or scores. */
// @ts-ignore: decorator
@inline
export const OP_KINDS: u32 = 64;

/** How max-score breaks ties. */
export enum Tie {
  Random = 0,
  /** By a hash of the prompt's first uncached block: all workers and gateways choose the same pod. */
  Prompt = 1,
  Session = 2,
}

/** How long a session stays where it is. */
export enum Stickiness {
  /** Its score falls with the pod's saturation. */
  Low = 0,
  /** Until the pod is saturated. */
  Medium = 1,
  /** As long as the pod may be chosen. */
  High = 2,
}

export enum Comparison {
  Less = 0,
  AtMost = 1,
  More = 2,
  AtLeast = 3,
  Equal = 4,
  NotEqual = 5,
}

export enum Handler {
  Single = 0,
  Disaggregated = 1,
  Header = 2,
}

/** Instructions of an expression; a stack of columns. */
export enum Code {
  /** Push the constant. */
  Constant = 0,
  /** Push variable `arg`. */
  Variable = 1,
  /** Push custom column `arg`. */
  Column = 2,
  Negate = 8,
  Not = 9,
  Absolute = 10,
  Floor = 11,
  SquareRoot = 12,
  Exponential = 13,
  Logarithm = 14,
  Add = 24,
  Subtract = 25,
  Multiply = 26,
  Divide = 27,
  Minimum = 28,
  Maximum = 29,
  Less = 30,
  AtMost = 31,
  Equal = 32,
  And = 33,
  Or = 34,
  /** condition, then, else. */
  Select = 48,
}

/** What an expression may name beside custom columns. */
export enum Variable {
  waiting = 0,
  running = 1,
  kvUsage = 2,
  inflightRequests = 3,
  inflightTokens = 4,
  cachedTokens = 5,
  promptTokens = 6,
  uncachedTokens = 7,
  rate = 8,
  capacityTokens = 9,
}

// Head: bytes u32, profiles u8, handler u8, default profile u8, prefill profile u8 (255 none), headers u8, profile
// header u8, instructions u16, operations u16, 2 bytes zero.
// @ts-ignore: decorator
@inline
export const PROGRAM_HEAD_BYTES: u32 = 16;
/** Header name: its length u8, then the name. */
// @ts-ignore: decorator
@inline
export const PROGRAM_HEADER_BYTES: u32 = 64;
/** Profile: hash of its name u64, first operation u16, operations u16, roles u8, 3 bytes zero. */
// @ts-ignore: decorator
@inline
export const PROGRAM_PROFILE_BYTES: u32 = 16;
/** Operation: kind u16, flags u16, a u32, weight f64, p0–p3 f64. */
// @ts-ignore: decorator
@inline
export const PROGRAM_OP_BYTES: u32 = 48;
/** Instruction: code u16, argument u16, 4 bytes zero, constant f64. */
// @ts-ignore: decorator
@inline
export const PROGRAM_CODE_BYTES: u32 = 16;

// @ts-ignore: decorator
@inline
export const MAX_PROFILES: u32 = 8;
// @ts-ignore: decorator
@inline
export const MAX_OPS: u32 = 128;
/** Of one profile. */
// @ts-ignore: decorator
@inline
export const MAX_PROFILE_OPS: u32 = 32;
// @ts-ignore: decorator
@inline
export const MAX_HEADERS: u32 = 4;
/** Of all expressions. */
// @ts-ignore: decorator
@inline
export const MAX_CODE: u32 = 512;
/** Of one expression: instructions, and columns on its stack. */
// @ts-ignore: decorator
@inline
export const MAX_EXPRESSION: u32 = 64;
// @ts-ignore: decorator
@inline
export const MAX_STACK: u32 = 12;
/** Custom columns of a pod, and bits for label selectors. */
// @ts-ignore: decorator
@inline
export const MAX_COLUMNS: u32 = 16;
// @ts-ignore: decorator
@inline
export const MAX_LABEL_BITS: u32 = 64;
/** Most adapters that are told of a pod. */
// @ts-ignore: decorator
@inline
export const MAX_ADAPTERS: u32 = 32;
// @ts-ignore: decorator
@inline
export const PROGRAM_MAX_BYTES: u32 =
  PROGRAM_HEAD_BYTES +
  MAX_HEADERS * PROGRAM_HEADER_BYTES +
  MAX_PROFILES * PROGRAM_PROFILE_BYTES +
  MAX_OPS * PROGRAM_OP_BYTES +
  MAX_CODE * PROGRAM_CODE_BYTES;

// Row of KIND_COLUMNS: slot u16, active adapters u8, waiting adapters u8, most adapters u16, 2 bytes zero, label bits
// u64, 16 columns of 4 bytes (f32, NaN = missing; or the hash of a label's value), then the adapters' roots u64.
// @ts-ignore: decorator
@inline
export const COLUMN_ROW_BYTES: u32 = 80;
// @ts-ignore: decorator
@inline
export const NO_PROFILE: u32 = 255;
