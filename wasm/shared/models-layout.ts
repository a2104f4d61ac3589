// Models, and the templates that render their chats; turns-layout.ts has the turn programs in them.

// @ts-ignore: decorator
@inline
export const MAX_MODELS: u32 = 256;

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
/** Length of a joint of which nothing is known. */
// @ts-ignore: decorator
@inline
export const JOINT_UNKNOWN: u32 = 0xffffffff;
