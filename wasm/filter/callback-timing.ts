// How long single callbacks take, for benches and for the search of a slow worker: two clock readings and a histogram
// sample a callback are too dear to be always on (`timeCallbacks` in the plugin's configuration).
import { text } from "./abi/memory";
import { METRIC_HISTOGRAM } from "./abi/types";
import { timeCallbacks } from "./configuration";
import { defineMetric, now, recordMetric } from "./host";

const NAME = text("warmgate_callback_duration_us");
let histogram: u32 = 0;
let startedNs: u64 = 0;

export function timingDefine(): void {
  if (timeCallbacks && !histogram) histogram = defineMetric(METRIC_HISTOGRAM, NAME.at, NAME.size);
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
