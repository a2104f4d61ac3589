// Plays a workload open-loop: conversations start on the simulated clock whatever the servers do.
import type { Answer, ChatClient, ChatMessage } from "./client.js";
import type { Conversation, Workload } from "./workload.js";

/** One request as it went. */
export interface Played {
  /** Order in which requests were sent. */
  order: number;
  messages: ChatMessage[];
  answer: Answer | null;
  error: string | null;
}

export interface Progress {
  sent: number;
  done: number;
  failed: number;
  total: number;
  simulatedS: number;
}

export const requestsIn = (w: Workload) => w.conversations.reduce((n, c) => n + c.turns.length, 0);

const sleep = (ms: number) => new Promise((done) => setTimeout(done, Math.max(0, ms)));

/**
 * Sends everything at the time scale (simulated seconds per real second); resolves when the last answer is in, with the
 * simulated seconds since the first.
 */
export async function play(
  workload: Workload,
  client: ChatClient,
  timeScale: number,
  onProgress: (p: Progress) => void = () => {},
): Promise<{ warmUp: Played[]; played: Played[]; simulatedS: number }> {
  const warmUp: Played[] = [];
  const began = performance.now();
  await Promise.all(
    workload.warmUp.map((c) => converse(c, client, timeScale, began, warmUp, () => warmUp.length)),
  );
  const start = performance.now();
  const played: Played[] = [];
  const total = requestsIn(workload);
  let sent = 0;
  const tell = () =>
    onProgress({
      sent,
      done: played.length,
      failed: played.filter((p) => p.error !== null).length,
      total,
      simulatedS: ((performance.now() - start) / 1000) * timeScale,
    });
  const timer = setInterval(tell, 500);
  await Promise.all(
    workload.conversations.map((c) => converse(c, client, timeScale, start, played, () => sent++)),
  );
  const simulatedS = ((performance.now() - start) / 1000) * timeScale;
  clearInterval(timer);
  tell();
  return { warmUp, played: played.sort((a, b) => a.order - b.order), simulatedS };
}

async function converse(
  c: Conversation,
  client: ChatClient,
  timeScale: number,
  start: number,
  played: Played[],
  next: () => number,
): Promise<void> {
  await sleep(start + (c.startS * 1000) / timeScale - performance.now());
  const history: ChatMessage[] = c.system === null ? [] : [{ role: "system", content: c.system }];
  for (const turn of c.turns) {
    await sleep((turn.thinkS * 1000) / timeScale);
    const messages: ChatMessage[] = [...history, { role: "user", content: turn.text }];
    const order = next();
    try {
      const answer = await client.chat(messages, turn.outputTokens, c.grows, c.session);
      const error = answer.status === 200 ? null : `HTTP ${answer.status}`;
      played.push({ order, messages, answer, error });
      if (error) return;
      history.splice(0, history.length, ...messages, { role: "assistant", content: answer.text });
    } catch (e) {
      played.push({ order, messages, answer: null, error: (e as Error).message });
      return;
    }
  }
}
