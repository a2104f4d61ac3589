// The policy: fixed fields and keys; the scheduling program (program-layout.ts) follows them.

// Policy payload, fixed offsets: version u32, isolation u32 (0 none, 1 salt), 24 bytes zero, body read bytes u32, block
// bytes u32, debug headers u32, stale ms u32, load TTL ms u32, reserved field action u32, salt key 2 × u64, block key
// (KEY_WORDS × u64); then the scheduling program.
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
