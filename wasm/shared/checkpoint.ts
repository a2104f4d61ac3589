// What the agent keeps over a restart: the approximate index, then the index and its table, behind a checksum.
import {
  approximateBytesAt,
  approximateLoad,
  approximateSave,
  approximateSaveBytes,
} from "./approximate-index";
import { textsLoad, textsSave, textsSaveBytes } from "./block-texts";
import { growMask, logClear, maskWords } from "./delta-writer";
import { checksum } from "./hash";
import { input } from "./input-buffer";
import { blockBytes, blockKey } from "./keys";
import { blocksLoad, blocksSave, blocksSaveBytes } from "./kv-blocks";
import { blocksHeld, bytesSeen, indexTake, tokensSeen } from "./kv-index";
import { membersLoad, membersSave, membersSaveBytes } from "./member-counts";
import { setsLoad, setsSave, setsSaveBytes } from "./pod-sets";
import { MAX_BUCKETS, prefixBytes } from "./prefix-table";
import { entries, table, tableBuckets, tableTake } from "./published-table";

// The index is the memory of its parts, one after another, behind a head of 56 bytes: magic u64, block bytes u32, mask words
// u32, buckets u32, entries u32, bytes seen u64, tokens seen u64, key check u64, blocks u32, zero u32.
// @ts-ignore: decorator
@inline
const CHECKPOINT_MAGIC: u64 = 0x3430545043544757; // "WGTCPT04"
// @ts-ignore: decorator
@inline
const CHECKPOINT_HEAD: usize = 56;

/** Bytes that `indexSave` writes. */
function indexSaveBytes(): usize {
  const parts = blocksSaveBytes() + textsSaveBytes() + membersSaveBytes() + setsSaveBytes();
  return CHECKPOINT_HEAD + prefixBytes(tableBuckets) + parts;
}

function indexSave(p: usize): void {
  store<u64>(p, CHECKPOINT_MAGIC);
  store<u32>(p, blockBytes, 8);
  store<u32>(p, maskWords, 12);
  store<u32>(p, tableBuckets, 16);
  store<u32>(p, entries, 20);
  store<u64>(p, bytesSeen, 24);
  store<u64>(p, tokensSeen, 32);
  store<u64>(p, load<u64>(blockKey), 40);
  store<u32>(p, blocksHeld, 48);
  store<u32>(p, 0, 52);
  p += CHECKPOINT_HEAD;
  memory.copy(p, table, prefixBytes(tableBuckets));
  p += prefixBytes(tableBuckets);
  blocksSave(p);
  p += blocksSaveBytes();
  textsSave(p);
  p += textsSaveBytes();
  membersSave(p);
  p += membersSaveBytes();
  setsSave(p);
}

/** Takes the index from `n` bytes; false when it is of another key or format. */
function indexLoad(p: usize, n: usize): bool {
  if (n < CHECKPOINT_HEAD || load<u64>(p) != CHECKPOINT_MAGIC || load<u32>(p, 8) != blockBytes) return false;
  if (load<u64>(p, 40) != load<u64>(blockKey)) return false;
  const buckets = load<u32>(p, 16);
  if (buckets == 0 || buckets > MAX_BUCKETS || n < CHECKPOINT_HEAD + prefixBytes(buckets)) return false;
  growMask((load<u32>(p, 12) << 6) - 1);
  const bytes = load<u64>(p, 24);
  const tokens = load<u64>(p, 32);
  tableTake(p + CHECKPOINT_HEAD, buckets, load<u32>(p, 20));
  p += CHECKPOINT_HEAD + prefixBytes(buckets);
  p += blocksLoad(p);
  p += textsLoad(p);
  p += membersLoad(p);
  indexTake(bytes, tokens);
  setsLoad(p);
  logClear();
  return true;
}

/** Length of the checkpoint that was written last. */
export let checkpointBytes: u32 = 0;

/** Writes a checkpoint behind an 8-byte checksum; returns its address, which the caller releases. */
export function checkpoint(): usize {
  const approximate = approximateSaveBytes();
  const n = approximate + indexSaveBytes();
  const p = heap.alloc(n + 8);
  approximateSave(p + 8);
  indexSave(p + 8 + approximate);
  store<u64>(p, checksum(p + 8, n));
  checkpointBytes = <u32>n + 8;
  return p;
}

/** Takes a checkpoint of `n` bytes at the input buffer; false when it is damaged or of another key or format. */
export function restore(n: u32): bool {
  if (n < 8 || load<u64>(input) != checksum(input + 8, n - 8)) return false;
  const approximate = n < 16 ? n : <u32>approximateBytesAt(input + 8);
  if (approximate > n - 8 || !indexLoad(input + 8 + approximate, n - 8 - approximate)) return false;
  approximateLoad(input + 8);
  return true;
}
