// Another model than the body names: by a trusted caller's header or by the policy's weighted rewrites. The model's
// value is changed in the body's bytes; everything else in it stays as it came.
import { overrideAllowed, rewriteTarget, ruleAny, ruleText, ruleTextSize } from "../core/request-rules";
import { modelFrom, modelLen, modelPtr, modelTo } from "../core/scan";
import { RULE_REWRITE } from "../shared/rules-layout";
import { MAP_REQUEST, OK } from "./abi/types";
import { edit } from "./body-edits";
import { MODEL_OVERRIDE, MODEL_REWRITE, MODEL_REWRITE_OLD } from "./control-headers";
import { getHeader, resultAt, resultSize } from "./host";
import { CONTROL_OVERRIDE } from "./request-controls";
import { sessionSpread, Stream } from "./streams";

/** Name of the model to use, after `chooseModel`. */
export let chosenModel: usize = 0;
export let chosenModelSize: u32 = 0;
/** Whether it is another one than the body's. */
export let modelRewritten: bool = false;

let quoted: usize = 0;
let quotedBytes: usize = 0;

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

/** Puts the chosen model into the body, as one of its edits. */
export function editModel(): void {
  const size = <usize>chosenModelSize + 2;
  if (size > quotedBytes) {
    quotedBytes = size << 1;
    quoted = heap.alloc(quotedBytes);
  }
  store<u8>(quoted, 0x22);
  memory.copy(quoted + 1, chosenModel, chosenModelSize);
  store<u8>(quoted + size - 1, 0x22);
  edit(modelFrom, modelTo, quoted, size);
}
