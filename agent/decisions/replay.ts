// Recorded decisions made again by the scheduler that made them: the same inputs must give the same pick.
import { Value } from "typebox/value";
import { Picker } from "../picker.js";
import { type ReplayDecision, ReplayDecisionSchema } from "../schemas/decisions.js";
import { outcomeOf, type PairOutcome, pairOnce } from "./replay-pair.js";

export interface Replayed {
  requestId: string;
  /** `skipped`: it cannot be replayed. */
  outcome: "same" | "different" | "skipped";
  /** Why it was skipped, or what is different; empty when it is the same. */
  why: string;
  /** Addresses, best first. */
  recorded: string[];
  again: string[];
  /** Whether the prefill runs on another pod, and where; null when that was not in question. */
  pair: { recorded: PairOutcome; again: PairOutcome | null } | null;
}

export interface ReplayReport {
  same: number;
  different: number;
  skipped: number;
  decisions: Replayed[];
}

/** What `replay` takes: the answer of /api/v1/decisions?replay=true. */
export interface ReplayFile {
  decisions: unknown[];
  /** Base64 by policy version. */
  programs: Record<string, string>;
}

/** Makes each decision again. A record that is not of its shape is skipped, with what is wrong in it. */
export async function replay(file: ReplayFile): Promise<ReplayReport> {
  const pickers = new Map<number, Picker | null>();
  const pickerOf = async (version: number): Promise<Picker | null> => {
    const known = pickers.get(version);
    if (known !== undefined) return known;
    const program = Object.hasOwn(file.programs, String(version))
      ? file.programs[String(version)]
      : undefined;
    const picker = program === undefined ? null : await Picker.create();
    const taken = picker?.program(Buffer.from(program!, "base64")) ? picker : null;
    pickers.set(version, taken);
    return taken;
  };
  const decisions: Replayed[] = [];
  for (const [i, decision] of file.decisions.entries()) {
    if (Value.Check(ReplayDecisionSchema, decision)) {
      decisions.push(once(decision, await pickerOf(decision.policyVersion)));
      continue;
    }
    const [mistake] = Value.Errors(ReplayDecisionSchema, decision);
    const why = `decisions[${i}]${mistake ? `${mistake.instancePath} ${mistake.message}` : " is no decision"}; it must be as /api/v1/decisions?replay=true has it`;
    decisions.push({ requestId: "", outcome: "skipped", why, recorded: [], again: [], pair: null });
  }
  const of = (outcome: Replayed["outcome"]) => decisions.filter((d) => d.outcome === outcome).length;
  return { same: of("same"), different: of("different"), skipped: of("skipped"), decisions };
}

function once(d: ReplayDecision, picker: Picker | null): Replayed {
  const recorded = d.candidates
    .filter(({ rank }) => rank > 0)
    .sort((a, b) => a.rank - b.rank)
    .map(({ address }) => address);
  const pair = d.pair ? { recorded: outcomeOf(d.pair), again: null } : null;
  const skipped = (why: string): Replayed => ({
    requestId: d.requestId,
    outcome: "skipped",
    why,
    recorded,
    again: [],
    pair,
  });
  if (!d.pick) return skipped(`nothing was picked (${d.reason})`);
  if (!d.pick.complete || d.pair?.complete === false)
    return skipped("there were more pods than a record holds");
  if (!picker) return skipped(`the program of policy version ${d.policyVersion} is missing or damaged`);
  const { pick, candidates, pair: recordedPair } = d;
  try {
    const result = picker.again({ pick, candidates });
    if (!result) return skipped("the record is damaged");
    const bySlot = new Map(candidates.map(({ slot, address }) => [slot, address]));
    const again = result.picked.map((slot) => bySlot.get(slot) ?? "");
    const different = difference(d, recorded, again, result.passed, picker);
    const second = recordedPair ? pairOnce(recordedPair, pick, candidates, picker) : null;
    if (recordedPair && !second) return skipped("the record of its prefill is damaged");
    const why = different || second?.why || "";
    return {
      requestId: d.requestId,
      outcome: why === "" ? "same" : "different",
      why,
      recorded,
      again,
      pair: pair && { ...pair, again: second?.outcome ?? null },
    };
  } catch (error) {
    return skipped((error as Error).message);
  }
}

function difference(
  d: ReplayDecision,
  recorded: string[],
  again: string[],
  passed: number,
  picker: Picker,
): string {
  const list = (addresses: string[]) => addresses.join(", ") || "none";
  if (recorded.join() !== again.join()) return `picked ${list(again)}, the record has ${list(recorded)}`;
  if (passed !== d.podsPassed) return `${passed} pods passed the filters, the record has ${d.podsPassed}`;
  const other = d.candidates.find(({ slot, cost }) => picker.cost(slot) !== cost);
  return other ? `${other.address} costs ${picker.cost(other.slot)}, the record has ${other.cost}` : "";
}
