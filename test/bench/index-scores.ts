// The process that asks an agent for scores, one after the other, and times the answers: what makes the engines' events
// has a process of its own, whose pauses would be counted here.
import { Agent, request } from "undici";
import { ascending, quantile } from "../../demo/quantile.js";

/** ms. */
export interface Quantiles {
  p50: number;
  p99: number;
}

const SCORES = 4000;
/** A fresh agent compiles its code in its first second. */
const WARM_UP = 2000;

/** Asks, tells the parent process what the answers took, and ends. */
export async function runScores(port: number): Promise<void> {
  const dispatcher = new Agent({ connections: 1, pipelining: 1 });
  const content = "the parser reads the order of the server and answers on the socket, line by line. ".repeat(
    100,
  );
  const took: number[] = [];
  for (let i = 0; i < SCORES + WARM_UP; i++) {
    const body = JSON.stringify({ model: "m", messages: [{ role: "user", content: `${i} ${content}` }] });
    const start = performance.now();
    const response = await request(`http://127.0.0.1:${port}/api/v1/score`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body,
      dispatcher,
    });
    await response.body.dump();
    if (response.statusCode !== 200) throw new Error(`/api/v1/score answers ${response.statusCode}`);
    if (i >= WARM_UP) took.push(performance.now() - start);
  }
  await dispatcher.close();
  process.send!(quantiles(took));
  process.disconnect();
}

export function quantiles(values: number[]): Quantiles {
  const sorted = ascending(values);
  return { p50: quantile(sorted, 0.5), p99: quantile(sorted, 0.99) };
}
