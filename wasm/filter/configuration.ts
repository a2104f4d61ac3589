// The plugin's configuration: one flat JSON object. It is read once, so plain searching serves; unknown fields are
// ignored, because an older filter may meet a newer configuration.
import { DEBUG_ALL, DEBUG_NONE, DEBUG_TRUSTED } from "../shared/policy-layout";
import { Text, text } from "./abi/memory";

/** Cluster of the agent's table stream. */
export let agentCluster: Text = text("warmgate-agent");
/** Cluster of the prefill pods, whose hosts are chosen by the destination header. */
export let prefillCluster: Text = text("warmgate-prefill");
/** "authorization" value for the stream; empty for none. */
export let authorization: Text = text("");
/** Whether headers are held and bodies read (`mode: body`); false decides on headers alone. */
export let bodyMode: bool = true;
export let sessionCookie: Text = text("session_id");
export let sessionKey0: u64 = 0;
export let sessionKey1: u64 = 0;
export let configuredDebug: u32 = DEBUG_NONE;
export let configuredRead: u32 = 524288;
/** Longest accepted body in bytes: 413 above it. */
export let bodyLimit: u32 = 16777216;
/** Most memory for table regions in MiB. */
export let tableMiB: u32 = 256;
/** Whether every callback's duration is recorded. */
export let timeCallbacks: bool = false;

function find(json: string, key: string): i32 {
  const at = json.indexOf('"' + key + '"');
  if (at < 0) return -1;
  let i = at + key.length + 2;
  while (i < json.length && (json.charCodeAt(i) <= 32 || json.charCodeAt(i) == 58)) i++;
  return i;
}

function stringOf(json: string, key: string, fallback: string): string {
  const i = find(json, key);
  if (i < 0 || i >= json.length || json.charCodeAt(i) != 34) return fallback;
  const end = json.indexOf('"', i + 1);
  return end < 0 ? fallback : json.substring(i + 1, end);
}

function numberOf(json: string, key: string, fallback: u32): u32 {
  let i = find(json, key);
  if (i < 0) return fallback;
  let v: u64 = 0;
  const start = i;
  for (; i < json.length && i - start < 10; i++) {
    const c = json.charCodeAt(i);
    if (c < 48 || c > 57) break;
    v = v * 10 + (c - 48);
  }
  return i == start || v > 0xffffffff ? fallback : <u32>v;
}

function hexWord(s: string, from: i32): u64 {
  let v: u64 = 0;
  for (let i = from; i < from + 16; i++) {
    const c = i < s.length ? s.charCodeAt(i) | 0x20 : 48;
    v = (v << 4) | <u64>(c >= 97 && c <= 102 ? c - 87 : c >= 16 && c <= 57 ? (c & 15) : 0);
  }
  return v;
}

/** Reads the configuration of `n` bytes at `p`; allocates, so it is only for `on_configure`. */
export function configurationRead(p: usize, n: usize): void {
  const json = String.UTF8.decodeUnsafe(p, n);
  agentCluster = text(stringOf(json, "agentCluster", "warmgate-agent"));
  prefillCluster = text(stringOf(json, "prefillCluster", "warmgate-prefill"));
  const token = stringOf(json, "token", "");
  authorization = text(token.length ? "Bearer " + token : "");
  bodyMode = stringOf(json, "mode", "body") != "headers";
  sessionCookie = text(stringOf(json, "sessionCookie", "session_id"));
  const key = stringOf(json, "sessionKey", "");
  sessionKey0 = hexWord(key, 0) ^ hexWord(key, 32);
  sessionKey1 = hexWord(key, 16) ^ hexWord(key, 48);
  const debug = stringOf(json, "debugHeaders", "none");
  configuredDebug = debug == "all" ? DEBUG_ALL : debug == "trusted" ? DEBUG_TRUSTED : DEBUG_NONE;
  configuredRead = max(4096, numberOf(json, "bodyReadBytes", 524288));
  bodyLimit = max(1024, numberOf(json, "bodyLimitBytes", 16777216));
  const timing = find(json, "timeCallbacks");
  timeCallbacks = timing >= 0 && timing < json.length && json.charCodeAt(timing) == 116; // true
  tableMiB = min(900, max(8, numberOf(json, "tableMiB", 256)));
}
