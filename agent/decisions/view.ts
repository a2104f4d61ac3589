// What /api/v1/decisions answers: for people the best candidates, for `warmgate replay` everything.
import type { DecisionLog, LoggedDecision } from "./log.js";

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
      ...(replay ? { pick: d.pick } : {}),
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
