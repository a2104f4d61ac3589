// Entry of prompt.wasm: the filter's reading of a request as a module of its own, so that the agent scores a prompt by
// the very code that routes it.
import { foundBytesPerToken, foundRoot, foundTemplate, modelDefault, modelFind, modelsRead } from "./models";
import { inexactReason, outLen, outPtr } from "./render";
import {
  hasModel,
  modelLen,
  modelPtr,
  promptIsComplete,
  renderExact,
  saltLen,
  saltPtr,
  SCAN_OK,
  SCAN_SLACK,
  scanInit,
  scanRequest,
} from "./scan";

export function abort(message: usize, file: usize, line: u32, column: u32): void {
  unreachable();
}

/** Status besides SCAN_*: no pod serves the request's model. */
// @ts-ignore: decorator
@inline
const UNKNOWN_MODEL: i32 = -1;

let input: usize = 0;
let capacity: u32 = 0;

/** Sets the most bytes of a body (and of a models section) and of a rendered prompt. */
export function init(bodyBytes: u32, promptBytes: u32): void {
  capacity = bodyBytes;
  input = heap.alloc(<usize>bodyBytes + SCAN_SLACK);
  memory.fill(input, 0, <usize>bodyBytes + SCAN_SLACK);
  scanInit(promptBytes);
}

/** Where a body or a models section goes. */
export function inputBuffer(): usize {
  return input;
}

/** Takes the models section of `n` bytes at the input buffer, as gateways get it. */
export function readModels(n: u32): bool {
  return n <= capacity && modelsRead(input, n);
}

/** Reads the body of `n` bytes at the input buffer. Returns SCAN_* or UNKNOWN_MODEL. */
export function readPrompt(n: u32, api: u32): i32 {
  if (n > capacity) return UNKNOWN_MODEL;
  memory.fill(input + n, 0, SCAN_SLACK);
  modelDefault();
  const guess = foundTemplate;
  const status = scanRequest(input, n, api, false, guess);
  if (status != SCAN_OK) return status;
  if (hasModel != 1 || !modelFind(modelPtr, modelLen)) return UNKNOWN_MODEL;
  return foundTemplate == guess ? status : scanRequest(input, n, api, false, foundTemplate);
}

export function promptAt(): usize {
  return outPtr;
}
export function promptSize(): u32 {
  return outLen;
}
export function promptExact(): bool {
  return renderExact;
}
export function promptWhole(): bool {
  return promptIsComplete;
}
/** Bits of INEXACT_*. */
export function whyInexact(): u32 {
  return inexactReason;
}
export function saltAt(): usize {
  return saltPtr;
}
export function saltSize(): u32 {
  return saltLen;
}
export function root(): u64 {
  return foundRoot;
}
export function bytesPerToken(): f64 {
  return foundBytesPerToken;
}
