// Fields that only routers may set, at the top level of a request and among the arguments that go to its engine.
import { at, miss, peek, seek, skipValue } from "./json-cursor";
import { NO_FIELD, readField } from "./json-key";
import { F_ENGINE_ARGUMENTS, F_EXTRA_ARGUMENTS, F_RESERVED, F_SAMPLING } from "./request-fields";

/** Bit i: reserved field i was there, under whatever spelling. */
export let reserved: u32 = 0;

/** Begins a request. */
export function reservedStart(): void {
  reserved = 0;
}

/** Notes a field from F_RESERVED on. */
export function reservedSeen(field: u32): void {
  reserved |= 1 << (field - F_RESERVED);
}

/** The members of an object of engine arguments under the cursor, `depth` levels deep: reserved fields count here, too. */
export function engineArguments(kind: u32, depth: u32): bool {
  seek(at + 1);
  if (peek() == 0x7d) {
    seek(at + 1);
    return true;
  }
  for (;;) {
    const field = readField();
    if (field == NO_FIELD) return false;
    if (field >= F_RESERVED) reservedSeen(field);
    const inner = field == F_EXTRA_ARGUMENTS && kind == F_SAMPLING && load<u8>(at) == 0x7b;
    if (!(inner ? engineArguments(F_ENGINE_ARGUMENTS, depth + 1) : skipValue(depth + 1))) return false;
    const next = peek();
    if (next != 0x2c && next != 0x7d) return miss();
    seek(at + 1);
    if (next == 0x7d) return true;
  }
  return false;
}
