// How long single callbacks and the parts of a decision take, for benches and for the search of a slow worker: clock
// readings and histogram samples at each are too dear to be always on (`timeCallbacks` in the plugin's configuration).
import { text } from "./abi/memory";
import { METRIC_HISTOGRAM } from "./abi/types";
import { timeCallbacks } from "./configuration";
import { defineMetric, now, recordMetric } from "./host";

const NAME = text("warmgate_callback_duration_us");
const PROMPT = text("warmgate_prompt_duration_ns");
const PICK = text("warmgate_pick_duration_ns");
let histogram: u32 = 0;
let prompts: u32 = 0;
let picks: u32 = 0;
let startedNs: u64 = 0;
let hashedNs: u64 = 0;
let promptNs: u64 = 0;

export function timingDefine(): void {
  if (!timeCallbacks || histogram) return;
  histogram = defineMetric(METRIC_HISTOGRAM, NAME.at, NAME.size);
  prompts = defineMetric(METRIC_HISTOGRAM, PROMPT.at, PROMPT.size);
  picks = defineMetric(METRIC_HISTOGRAM, PICK.at, PICK.size);
}

/** The prompt is read and hashed, its decision began at `startNs`: what both took, in ns. */
// @ts-ignore: decorator
@inline
export function timingHashed(startNs: u64): void {
  if (!prompts) return;
  hashedNs = now();
  promptNs = hashedNs - startNs;
}

/** The pod is chosen: what look-up and choice took since the hashing, in ns. */
// @ts-ignore: decorator
@inline
export function timingPicked(): void {
  if (!hashedNs) return;
  recordMetric(picks, now() - hashedNs);
  // Only now: between the two it would count as part of the choice.
  recordMetric(prompts, promptNs);
  hashedNs = 0;
}

/** Start of the outermost callback. */
// @ts-ignore: decorator
@inline
export function timingStart(): void {
  if (histogram) startedNs = now();
}

/** Its end; what it took goes to the histogram in whole µs. */
// @ts-ignore: decorator
@inline
export function timingEnd(): void {
  if (histogram) recordMetric(histogram, (now() - startedNs) / 1000);
}
