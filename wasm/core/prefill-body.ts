// The two bodies of a split request, as edits of the client's text: only our own members are put in or replaced, every
// other byte stays as it came. sidecar/generation-body.ts does the same edits in Node.
import {
  at,
  cursorStart,
  peek,
  seek,
  skipString,
  skipValue,
  stringAt,
  stringEnd,
  stringEscaped,
} from "./json-cursor";
import { nameLen, namePtr, readName } from "./json-key";
import { API_CHAT, API_COMPLETIONS, API_RESPONSES } from "./scan";

/** Most edits of one body; more need a body that repeats keys on purpose, which is not split. */
// @ts-ignore: decorator
@inline
const MAX_EDITS: u32 = 64;
/** Bytes that the edits of a body may add, besides the transfer parameters. */
// @ts-ignore: decorator
@inline
export const EDIT_ROOM: u32 = 16384;

// Watched members. Those up to W_MIN_TOKENS are limits of tokens.
// @ts-ignore: decorator
@inline
const W_MAX_TOKENS: u32 = 0;
// @ts-ignore: decorator
@inline
const W_MAX_COMPLETION_TOKENS: u32 = 1;
// @ts-ignore: decorator
@inline
const W_MAX_OUTPUT_TOKENS: u32 = 2;
// @ts-ignore: decorator
@inline
const W_MIN_TOKENS: u32 = 3;
// @ts-ignore: decorator
@inline
const W_STREAM: u32 = 4;
// @ts-ignore: decorator
@inline
const W_STREAM_OPTIONS: u32 = 5;
// @ts-ignore: decorator
@inline
const W_TRANSFER: u32 = 6;
// @ts-ignore: decorator
@inline
const W_SAMPLING: u32 = 7;
// Members that make a request one that cannot be split: several answers of a prompt, or what only the pod that
// computes the prompt can say.
// @ts-ignore: decorator
@inline
const W_ANSWERS: u32 = 8;
// @ts-ignore: decorator
@inline
const W_BEST_OF: u32 = 9;
// @ts-ignore: decorator
@inline
const W_ECHO: u32 = 10;
// @ts-ignore: decorator
@inline
const W_PROMPT_LOGPROBS: u32 = 11;
// @ts-ignore: decorator
@inline
const W_PROMPT: u32 = 12;
// @ts-ignore: decorator
@inline
const W_OTHER: u32 = 13;

const NAMES: StaticArray<string> = [
  "max_tokens",
  "max_completion_tokens",
  "max_output_tokens",
  "min_tokens",
  "stream",
  "stream_options",
  "kv_transfer_params",
  "sampling_params",
  "n",
  "best_of",
  "echo",
  "prompt_logprobs",
  "prompt",
];
const names: usize = heap.alloc(NAMES.length * 8);
for (let i = 0; i < NAMES.length; i++) {
  const s = unchecked(NAMES[i]);
  const p = heap.alloc(s.length + 8);
  String.UTF8.encodeUnsafe(changetype<usize>(s), s.length, p);
  store<u32>(names + (i << 3), <u32>p);
  store<u32>(names + (i << 3), s.length, 4);
}

function literal(s: string): usize {
  const p = heap.alloc(s.length + 16);
  store<u32>(p, s.length);
  String.UTF8.encodeUnsafe(changetype<usize>(s), s.length, p + 4);
  return p;
}
const ONE = literal("1");
const FALSE = literal("false");
const NOTHING = literal("");
/** vLLM's request for a prefill whose decode is elsewhere (NixlConnector). */
const REMOTE_DECODE = literal(
  '{"do_remote_decode":true,"do_remote_prefill":false,"remote_block_ids":null,"remote_engine_id":null,"remote_host":null,"remote_port":null}',
);

// Edit: start u32, end u32, text u32, text size u32.
const edits: usize = heap.alloc(MAX_EDITS << 4);
let editCount: u32 = 0;
let tooMany: bool = false;
let prefill: bool = false;
let whole: bool = false;
/** Bit i: watched member i stands at the top level. */
let seen: u32 = 0;
let members: u32 = 0;
let removed: u32 = 0;
let open: usize = 0;
let api: u32 = 0;
let params: usize = 0;
let paramsSize: u32 = 0;

function edit(start: usize, end: usize, text: usize, size: u32): void {
  if (editCount == MAX_EDITS) {
    tooMany = true;
    return;
  }
  const e = edits + (<usize>editCount << 4);
  store<u32>(e, <u32>start);
  store<u32>(e, <u32>end, 4);
  store<u32>(e, <u32>text, 8);
  store<u32>(e, size, 12);
  editCount++;
}

function replace(start: usize, end: usize, text: usize): void {
  edit(start, end, text + 4, load<u32>(text));
}

/** Reads a key and goes to its value; the watched member, W_OTHER, or -1 when the text is at fault. */
function readMember(): i32 {
  if (peek() != 0x22) return -1;
  const start = at;
  if (!skipString()) return -1;
  let p = stringAt;
  let n = <u32>(stringEnd - stringAt);
  if (stringEscaped) {
    seek(start);
    if (!readName()) return -1;
    p = namePtr;
    n = nameLen;
  }
  if (peek() != 0x3a) return -1;
  seek(at + 1);
  if (!peek()) return -1;
  for (let i: u32 = 0; i < W_OTHER; i++) {
    const name = names + (<usize>i << 3);
    if (load<u32>(name, 4) == n && memory.compare(load<u32>(name), p, n) == 0) return i;
  }
  return W_OTHER;
}

/** Whether the value from `start` to `end` is this text. */
function is(start: usize, end: usize, text: usize): bool {
  const n = load<u32>(text);
  return <u32>(end - start) == n && memory.compare(start, text + 4, n) == 0;
}

const NULL = literal("null");

/** Caps the limits inside a `sampling_params` object under the cursor. */
function sampling(): bool {
  seek(at + 1);
  if (peek() == 0x7d) {
    seek(at + 1);
    return true;
  }
  for (;;) {
    const member = readMember();
    if (member < 0) return false;
    const start = at;
    if (!skipValue(2)) return false;
    if (<u32>member <= W_MIN_TOKENS) replace(start, at, ONE);
    const next = peek();
    seek(at + 1);
    if (next == 0x7d) return true;
    if (next != 0x2c) return false;
  }
  return false;
}

/** Takes one member's value, at the cursor; `key`: where its key starts, `before`: where the member before ended. */
function take(member: u32, key: usize, before: usize): bool {
  const start = at;
  const lead = load<u8>(start);
  if (prefill && member == W_SAMPLING && lead == 0x7b) return sampling();
  if (!skipValue(1)) return false;
  const end = at;
  if (member == W_OTHER) return true;
  seen |= 1 << member;
  if (member == W_TRANSFER) {
    edit(start, end, prefill ? REMOTE_DECODE + 4 : params, prefill ? load<u32>(REMOTE_DECODE) : paramsSize);
    return true;
  }
  if (!prefill) return true;
  if (member <= W_MIN_TOKENS) replace(start, end, ONE);
  else if (member == W_STREAM) replace(start, end, FALSE);
  else if (member == W_STREAM_OPTIONS) remove(key, before, end);
  else if (member == W_ANSWERS || member == W_BEST_OF) whole = whole && (is(start, end, ONE) || is(start, end, NULL));
  else if (member == W_ECHO || member == W_PROMPT_LOGPROBS)
    whole = whole && (is(start, end, FALSE) || is(start, end, NULL));
  // A list may be several prompts, which are several requests of the engine.
  else if (member == W_PROMPT && api == API_COMPLETIONS) whole = whole && lead == 0x22;
  return true;
}

/** The edit that removed a member whose comma is still to come; 0 for none. */
let danglingEdit: usize = 0;

function remove(key: usize, before: usize, end: usize): void {
  const stands = members > removed;
  removed++;
  // A member that stays stands before it: the comma between goes with it. Otherwise the comma behind it does.
  if (stands) edit(before, end, NOTHING + 4, 0);
  else {
    edit(key, end, NOTHING + 4, 0);
    if (!tooMany) danglingEdit = edits + (<usize>(editCount - 1) << 4);
  }
}

/** Scans the top level and notes the edits. */
function scan(p: usize, n: u32): bool {
  editCount = 0;
  tooMany = false;
  whole = true;
  seen = 0;
  members = 0;
  removed = 0;
  danglingEdit = 0;
  if (n >= 3 && load<u16>(p) == 0xbbef && load<u8>(p, 2) == 0xbf) {
    p += 3;
    n -= 3;
  }
  cursorStart(p, n, false);
  if (peek() != 0x7b) return false;
  seek(at + 1);
  open = at;
  let before = at;
  if (peek() == 0x7d) return true;
  for (;;) {
    peek();
    const key = at;
    if (danglingEdit) {
      store<u32>(danglingEdit, <u32>key, 4);
      danglingEdit = 0;
    }
    const member = readMember();
    if (member < 0 || !take(member, key, before)) return false;
    members++;
    before = at;
    const next = peek();
    if (next == 0x7d) return !tooMany;
    if (next != 0x2c) return false;
    seek(at + 1);
  }
  return false;
}

const first: usize = heap.alloc(1024);
let firstSize: u32 = 0;

/** Notes a member that the body lacks. */
function add(member: u32, text: usize, size: u32, out: usize): void {
  if (seen & (1 << member)) return;
  let q = out + firstSize;
  store<u8>(q, 0x22);
  const name = names + (<usize>member << 3);
  const n = load<u32>(name, 4);
  memory.copy(q + 1, load<u32>(name), n);
  store<u16>(q + 1 + n, 0x3a22); // ":
  q += n + 3;
  memory.copy(q, text, size);
  store<u8>(q + size, 0x2c);
  firstSize = <u32>(q + size + 1 - out);
}

/**
 * Writes the prefill's body to `out`, which has room for `n` + EDIT_ROOM bytes: the client's body of `n` bytes at `p`
 * with one token to generate, not streamed, its blocks kept for another pod. Returns its length; 0 when the request
 * cannot be split (several answers or prompts, prompt log-probabilities, echo, or no object).
 */
export function editPrefill(p: usize, n: u32, path: u32, out: usize): u32 {
  prefill = true;
  api = path;
  if (path != API_CHAT && path != API_COMPLETIONS && path != API_RESPONSES) return 0;
  if (!scan(p, n) || !whole) return 0;
  firstSize = 0;
  // The fields of tokens that vLLM needs to end the request by its limit; only then it hands blocks over.
  if (path == API_RESPONSES) add(W_MAX_OUTPUT_TOKENS, ONE + 4, 1, first);
  else {
    add(W_MAX_TOKENS, ONE + 4, 1, first);
    add(W_MAX_COMPLETION_TOKENS, ONE + 4, 1, first);
    add(W_MIN_TOKENS, ONE + 4, 1, first);
  }
  add(W_STREAM, FALSE + 4, 5, first);
  add(W_TRANSFER, REMOTE_DECODE + 4, load<u32>(REMOTE_DECODE), first);
  if (members == removed && firstSize) firstSize--;
  const head = open - p;
  memory.copy(out, p, head);
  memory.copy(out + head, first, firstSize);
  return <u32>head + firstSize + tail(p + n, out + head + firstSize);
}

/**
 * Writes the decode's body to `out`, which has room for `n` + `size` + EDIT_ROOM bytes (more by `size` for each time
 * the body has the member): the client's body with the transfer parameters, `size` bytes at `text`. 0 when it cannot.
 */
export function editDecode(p: usize, n: u32, text: usize, size: u32, out: usize, room: u32): u32 {
  prefill = false;
  params = text;
  paramsSize = size;
  if (!scan(p, n)) return 0;
  const name = <u32>24; // "kv_transfer_params":  and a comma
  if (<u64>n + <u64>(editCount + 1) * (size + name) > room) return 0;
  // Copied straight behind the brace; parameters may be longer than `first`.
  firstSize = 0;
  const head = open - p;
  if (!(seen & (1 << W_TRANSFER))) {
    add(W_TRANSFER, text, size, out + head);
    if (members == 0) firstSize--;
  }
  const added = firstSize;
  memory.copy(out, p, head);
  return <u32>head + added + tail(p + n, out + head + added);
}

/** Writes what follows the brace, with the edits done. */
function tail(end: usize, out: usize): u32 {
  const start = out;
  let from = open;
  for (let i: u32 = 0; i < editCount; i++) {
    const e = edits + (<usize>i << 4);
    const until = <usize>load<u32>(e);
    memory.copy(out, from, until - from);
    out += until - from;
    const size = load<u32>(e, 12);
    memory.copy(out, load<u32>(e, 8), size);
    out += size;
    from = load<u32>(e, 4);
  }
  memory.copy(out, from, end - from);
  return <u32>(out + (end - from) - start);
}
