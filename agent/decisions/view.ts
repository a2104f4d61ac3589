// What /api/v1/decisions answers: for people the best candidates, for `warmgate replay` everything.
import type { DecisionLog, LoggedDecision } from "./log.js";
import type { PairDecision } from "./record.js";

/** Candidates that people are shown. */
const SHOWN = 16;

/** `podName`: name of the pod at an address, while it is known. */
export function decisionsView(
  log: DecisionLog,
  decisions: readonly LoggedDecision[],
  podName: (address: string) => string | null,
  replay: boolean,
) {
  const programs: Record<string, string> = {};
  if (replay)
    for (const { policyVersion: version } of decisions) {
      const program = log.program(version);
      if (program) programs[version] ??= Buffer.from(program).toString("base64");
    }
  return {
    decisions: decisions.map((d) => ({
      at: new Date(d.at).toISOString(),
      gateway: d.processId.toString(16),
      worker: d.vmId.toString(16),
      tableSequence: d.tableSequence,
      policyVersion: d.policyVersion,
      reason: d.reason,
      requestId: d.requestId,
      promptTokens: d.promptTokens,
      predictedTokens: d.predictedTokens,
      priority: d.priority,
      schedulingMs: d.schedulingMicros / 1000,
      podsConsidered: d.considered,
      podsPassed: d.passed,
      stoodIn: d.pick?.stoodIn ?? false,
      prefill: d.pair && prefillOf(d.pair, podName),
      ...(replay ? { pick: d.pick, pair: d.pair } : {}),
      candidates: replay
        ? d.candidates.map((c) => ({ pod: podName(c.address), ...c }))
        : d.candidates
            .slice(0, SHOWN)
            .map(({ address, rank, cachedTokens, cost, inflightRequests, pendingPrefills }) => ({
              pod: podName(address),
              address,
              rank,
              cachedTokens,
              cost,
              inflightRequests,
              pendingPrefills,
            })),
    })),
    ...(replay ? { programs } : {}),
  };
}

function prefillOf(pair: PairDecision, podName: (address: string) => string | null) {
  const pods = pair.candidates
    .filter(({ prefillRank }) => prefillRank > 0)
    .sort((a, b) => a.prefillRank - b.prefillRank);
  const decode = pair.candidates.find(({ rank }) => rank > 0 && rank === pair.decode);
  return {
    splits: pair.splits,
    pods: pods.map(({ address, cost }) => ({ pod: podName(address), address, cost })),
    decode: decode?.address ?? null,
    seconds: pair.seconds === Number.MAX_VALUE ? null : pair.seconds,
    aloneSeconds: pair.aloneSeconds || null,
  };
}
