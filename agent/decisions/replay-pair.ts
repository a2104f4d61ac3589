// A recorded choice of a pair of pods, prefill and decode, made again.
import type { PairAgain, Picker } from "../picker.js";
import type { ReplayDecision } from "../schemas/decisions.js";

export interface PairOutcome {
  splits: boolean;
  /** Addresses, best first. */
  prefills: string[];
  /** Address, empty without a split. */
  decode: string;
}

type RecordedPair = NonNullable<ReplayDecision["pair"]>;

/** What a record says. */
export function outcomeOf({ splits, decode, candidates }: RecordedPair): PairOutcome {
  return {
    splits,
    prefills: candidates
      .filter(({ prefillRank }) => prefillRank > 0)
      .sort((a, b) => a.prefillRank - b.prefillRank)
      .map(({ address }) => address),
    decode: candidates.find(({ rank }) => rank > 0 && rank === decode)?.address ?? "",
  };
}

/** Chooses the pair again; null when its record is damaged. @throws RangeError as Picker.pairAgain does. */
export function pairOnce(
  pair: RecordedPair,
  pick: NonNullable<ReplayDecision["pick"]>,
  candidates: ReplayDecision["candidates"],
  picker: Picker,
): { outcome: PairOutcome; why: string } | null {
  const result = picker.pairAgain({ pick, candidates, pair });
  if (!result) return null;
  const bySlot = new Map(pair.candidates.map(({ slot, address }) => [slot, address]));
  const outcome = {
    splits: result.splits,
    prefills: result.prefills.map((slot) => bySlot.get(slot) ?? ""),
    decode: bySlot.get(result.decode) ?? "",
  };
  return { outcome, why: pairDifference(pair, outcome, result, picker) };
}

function pairDifference(pair: RecordedPair, again: PairOutcome, result: PairAgain, picker: Picker): string {
  const recorded = outcomeOf(pair);
  const told = (o: PairOutcome) =>
    `${o.splits ? `a split with ${o.decode}` : "no split"}, prefill pods ${o.prefills.join(", ") || "none"}`;
  if (told(recorded) !== told(again)) return `chose ${told(again)}; the record has ${told(recorded)}`;
  for (const what of ["seconds", "aloneSeconds"] as const)
    if (result[what] !== pair[what]) return `${what} ${result[what]}, the record has ${pair[what]}`;
  const other = pair.candidates.find((c) => c.role !== "decode" && picker.prefillCost(c.slot) !== c.cost);
  return other
    ? `a prefill on ${other.address} costs ${picker.prefillCost(other.slot)}, the record has ${other.cost}`
    : "";
}
