// The index and the table in a checkpoint.
import { textsLoad, textsSave, textsSaveBytes } from "./block-texts";
import { growMask, logClear, maskWords } from "./delta-writer";
import { blocksLoad, blocksSave, blocksSaveBytes } from "./kv-blocks";
import { blockBytes, blocksHeld, bytesSeen, indexTake, key, tokensSeen } from "./kv-index";
import { membersLoad, membersSave, membersSaveBytes } from "./member-counts";
import { setsLoad, setsSave, setsSaveBytes } from "./pod-sets";
import { MAX_BUCKETS, prefixBytes } from "./prefix-table";
import { entries, table, tableBuckets, tableTake } from "./published-table";

// They are the memory of their parts, one after another, behind a head of 56 bytes: magic u64, block bytes u32, mask words
// u32, buckets u32, entries u32, bytes seen u64, tokens seen u64, key check u64, blocks u32, zero u32.
// @ts-ignore: decorator
@inline
const CHECKPOINT_MAGIC: u64 = 0x3430545043544757; // "WGTCPT04"
// @ts-ignore: decorator
@inline
const CHECKPOINT_HEAD: usize = 56;

/** Bytes that `indexSave` writes. */
export function indexSaveBytes(): usize {
  const parts = blocksSaveBytes() + textsSaveBytes() + membersSaveBytes() + setsSaveBytes();
  return CHECKPOINT_HEAD + prefixBytes(tableBuckets) + parts;
}

export function indexSave(p: usize): void {
  store<u64>(p, CHECKPOINT_MAGIC);
  store<u32>(p, blockBytes, 8);
  store<u32>(p, maskWords, 12);
  store<u32>(p, tableBuckets, 16);
  store<u32>(p, entries, 20);
  store<u64>(p, bytesSeen, 24);
  store<u64>(p, tokensSeen, 32);
  store<u64>(p, load<u64>(key), 40);
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

/** Takes a checkpoint of `n` bytes whose checksum the caller verified; false when it is of another key or format. */
export function indexLoad(p: usize, n: usize): bool {
  if (n < CHECKPOINT_HEAD || load<u64>(p) != CHECKPOINT_MAGIC || load<u32>(p, 8) != blockBytes) return false;
  if (load<u64>(p, 40) != load<u64>(key)) return false;
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
