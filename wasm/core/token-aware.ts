// What decides in the place of warm-until-busy while counts of other gateways come late: llm-d's token-aware profile.
// It needs to know less of what others have under way, since it keeps to warm pods up to a wide gap in load.
import { Op, PROGRAM_OP_BYTES } from "../shared/program-layout";
import { runFilter } from "./filters";
import { scoreTokenLoad } from "./load-scores";

// The defaults of prefix-cache-affinity-filter and token-load-scorer in llm-d, as rows of a program.
const filter: usize = heap.alloc(PROGRAM_OP_BYTES << 1);
const scorer: usize = filter + PROGRAM_OP_BYTES;
memory.fill(filter, 0, PROGRAM_OP_BYTES << 1);
store<u16>(filter, <u16>Op.FilterPrefixAffinity);
store<f64>(filter, 0.8, 16);
store<f64>(filter, 18000, 32);
store<f64>(filter, 15928, 40);
store<u16>(scorer, <u16>Op.TokenLoad);
store<f64>(scorer, 1, 8);
store<f64>(scorer, 4194304, 16);

/** Keeps the candidates that hold most of the prompt, as long as they are not too far behind the others. */
export function keepWarm(): void {
  runFilter(filter);
}

/** The candidates' scores into the values: the fewer tokens wait there, this request's own included, the higher. */
export function scoreLoad(): void {
  scoreTokenLoad(scorer);
}
