// The demo's traffic in `warmgate simulate`: the same requests, token by token, through the same policy and pods.

import { H200_8B } from "../simulate/cost-model.js";
import { faster, measuredEngine } from "../simulate/engine.js";
import { findPolicy } from "../simulate/policies.js";
import { type Summary, summarize } from "../simulate/report.js";
import type { Load, SimRequest } from "../simulate/request.js";
import { run } from "../simulate/run.js";
import { renderChat } from "../simulator/chat-template.js";
import type { Tokenizer } from "../simulator/tokenizer.js";
import { BLOCK, promptBlocks } from "./prompt-blocks.js";
import type { Workload } from "./workload.js";

/**
 * A workload's requests as the simulation takes them, in real seconds. @throws Error for one whose requests depend on
 * answers: nobody knows them before.
 */
export function loadOf(workload: Workload, tokenizer: Tokenizer, timeScale: number): Load {
  const sessions = new Map<string, number>();
  const requests = workload.conversations.map((c): SimRequest => {
    const turn = c.turns[0]!;
    if (c.grows || c.turns.length > 1)
      throw new Error(
        `the workload ${workload.name} has turns that wait for answers and cannot be simulated`,
      );
    const messages = [
      ...(c.system === null ? [] : [{ role: "system", content: c.system }]),
      { role: "user", content: turn.text },
    ];
    const { tokens, keys } = promptBlocks(tokenizer, renderChat(messages, true));
    const session = c.session ?? "";
    if (session && !sessions.has(session)) sessions.set(session, sessions.size + 1);
    return {
      arrival: c.startS / timeScale,
      prompt: tokens,
      output: turn.outputTokens,
      blocks: keys,
      session: sessions.get(session) ?? 0,
    };
  });
  requests.sort((a, b) => a.arrival - b.arrival);
  return { name: workload.name, stages: [requests], pause: 0, blockTokens: BLOCK };
}

/** What the simulation says of a named policy; times are real seconds on pods that run `timeScale` times as fast. */
export async function simulated(
  load: Load,
  policy: string,
  options: { pods: number; blocks: number; timeScale: number; scrapeMs: number; seed: number },
): Promise<Summary> {
  const engine = measuredEngine("8b-h200", H200_8B, options.blocks * BLOCK);
  return summarize(
    await run(load, findPolicy(policy), {
      engine: faster(engine, options.timeScale),
      pods: options.pods,
      // Workers of one gateway share their counts at once.
      replicas: 1,
      sync: 0,
      scrape: options.scrapeMs / 1000,
      seed: options.seed,
    }),
  );
}
