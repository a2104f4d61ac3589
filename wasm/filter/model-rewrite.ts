// Another model than the body names: by a trusted caller's header or by the policy's weighted rewrites. The model's
// value is changed in the body's bytes; everything else in it stays as it came.
import { overrideAllowed, rewriteTarget, ruleAny, ruleText, ruleTextSize } from "../core/request-rules";
import { modelFrom, modelLen, modelPtr, modelTo } from "../core/scan";
import { RULE_REWRITE } from "../shared/layout";
import { text } from "./abi/memory";
import { BUFFER_REQUEST_BODY, MAP_REQUEST, OK } from "./abi/types";
import { MODEL_OVERRIDE, MODEL_REWRITE, MODEL_REWRITE_OLD } from "./control-headers";
import { setNumber } from "./decimal";
import { getHeader, replaceBuffer, resultAt, resultSize } from "./host";
import { CONTROL_OVERRIDE } from "./request-controls";
import { sessionSpread, Stream } from "./streams";

const LENGTH = text("content-length");

/** Name of the model to use, after `chooseModel`. */
export let chosenModel: usize = 0;
export let chosenModelSize: u32 = 0;
/** Whether it is another one than the body's. */
export let modelRewritten: bool = false;

let edited: usize = 0;
let editedBytes: usize = 0;

/** Chooses the model; false when a header asks for one that the policy does not allow. */
export function chooseModel(s: Stream): bool {
  chosenModel = modelPtr;
  chosenModelSize = modelLen;
  modelRewritten = false;
  if (s.controls & CONTROL_OVERRIDE) {
    if (
      getHeader(MAP_REQUEST, MODEL_OVERRIDE) != OK &&
      getHeader(MAP_REQUEST, MODEL_REWRITE) != OK &&
      getHeader(MAP_REQUEST, MODEL_REWRITE_OLD) != OK
    ) {
      return true;
    }
    return overrideAllowed(resultAt, <u32>resultSize) ? take() : false;
  }
  if (ruleAny(RULE_REWRITE) && rewriteTarget(modelPtr, modelLen, sessionSpread(s))) take();
  return true;
}

function take(): bool {
  if (ruleTextSize == modelLen && memory.compare(ruleText, modelPtr, modelLen) == 0) return true;
  chosenModel = ruleText;
  chosenModelSize = ruleTextSize;
  modelRewritten = true;
  return true;
}

/** Puts the chosen model into the body of `n` bytes at `body`, which is all of it; false when Envoy refuses. */
export function writeModel(body: usize, n: u32): bool {
  const before = modelFrom - body;
  const behind = n - <u32>(modelTo - body);
  const size = before + 2 + chosenModelSize + behind;
  if (size > editedBytes) {
    // Kept for the next one; at most twice the longest body that is read.
    editedBytes = size << 1;
    edited = heap.alloc(editedBytes);
  }
  memory.copy(edited, body, before);
  store<u8>(edited + before, 0x22);
  memory.copy(edited + before + 1, chosenModel, chosenModelSize);
  store<u8>(edited + before + 1 + chosenModelSize, 0x22);
  memory.copy(edited + before + 2 + chosenModelSize, modelTo, behind);
  if (replaceBuffer(BUFFER_REQUEST_BODY, n, edited, size) != OK) return false;
  if (getHeader(MAP_REQUEST, LENGTH) == OK && resultSize) setNumber(MAP_REQUEST, LENGTH, size);
  return true;
}
