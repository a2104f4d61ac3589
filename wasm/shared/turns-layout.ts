// Turn programs, which a template has for conversations that its joints alone do not cover.

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
