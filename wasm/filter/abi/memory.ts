// Memory that Envoy writes into. Small results go to a bump arena that is empty again when the outermost callback
// is entered; big ones (bodies, frames) go to one region, so a pointer is valid until the next big read.

// @ts-ignore: decorator
@inline
const ARENA_BYTES: usize = 262144;
// @ts-ignore: decorator
@inline
const BIG: usize = 65536;

/** A body of 16 MiB, the most that a policy may have read, and as much beside it as root.ts asks for. */
// @ts-ignore: decorator
@inline
const LONGEST: usize = 17825792;

let arena: usize = 0;
let top: usize = 0;
let depth: i32 = 0;
let region: usize = 0;
let regionBytes: usize = 0;

/**
 * Allocates both areas and touches them, so that no request pays for a page fault. The heap takes nothing back, so the
 * region grows by doubling at least, to what the longest body needs: those before it stay below twice its size together.
 */
export function memoryInit(regionSize: usize): void {
  if (!arena) {
    arena = heap.alloc(ARENA_BYTES);
    memory.fill(arena, 0, ARENA_BYTES);
    top = arena;
  }
  if (regionSize > regionBytes) {
    regionBytes = max(regionSize, min(regionBytes << 1, LONGEST));
    region = heap.alloc(regionBytes + 128);
    memory.fill(region, 0, regionBytes + 128);
  }
}

/** Longest single read from the host in bytes. */
export function memoryLimit(): usize {
  return regionBytes;
}

/** Envoy's allocator. 0 when there is no room: the host call then fails with a status. */
export function allocate(size: usize): usize {
  if (!arena) memoryInit(1 << 20);
  if (size > BIG) return size <= regionBytes ? region : 0;
  const at = top;
  const next = at + ((size + 15) & ~15);
  if (next > arena + ARENA_BYTES) return 0;
  top = next;
  return at;
}

/** Where the arena's next result goes; `arenaReturn` gives back what came after. For loops over many requests. */
export function arenaMark(): usize {
  return top;
}
export function arenaReturn(mark: usize): void {
  top = mark;
}

/**
 * Entry of a callback. Host calls can re-enter the module, so only the outermost one empties the arena; true for it.
 */
// @ts-ignore: decorator
@inline
export function enterArena(): bool {
  if (depth++) return false;
  top = arena;
  return true;
}

/** End of a callback; true for the outermost one. */
// @ts-ignore: decorator
@inline
export function leaveArena(): bool {
  return --depth == 0;
}

/** Static UTF-8 text, encoded once when the module starts. */
@unmanaged
export class Text {
  at: usize;
  size: usize;
}

/** Only for module start and configuration: makes a Text of a literal. */
export function text(s: string): Text {
  const size = String.UTF8.byteLength(s);
  const t = changetype<Text>(heap.alloc(offsetof<Text>()));
  t.at = heap.alloc(size + 8);
  t.size = size;
  String.UTF8.encodeUnsafe(changetype<usize>(s), s.length, t.at);
  return t;
}
