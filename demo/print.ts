// What the demo writes for people.
import { aligned } from "../simulate/report.js";
import type { Progress } from "./play.js";

export const say = (line = "") => process.stdout.write(`${line}\n`);

/** Tells how a run goes: in place on a terminal, else every ten seconds. */
export function progress(label: string) {
  const live = process.stderr.isTTY;
  let last = 0;
  return (p: Progress) => {
    const line = `  ${label}: ${p.done}/${p.total} answered, ${p.sent - p.done} under way, ${p.failed} failed, ${p.simulatedS.toFixed(0)} simulated s`;
    if (live) process.stderr.write(`\r${line.padEnd(100)}${p.done === p.total ? "\n" : ""}`);
    else if (p.done === p.total || Date.now() - last > 10_000) {
      last = Date.now();
      process.stderr.write(`${line}\n`);
    }
  };
}

/** Says rows with aligned columns, the first one being the head. */
export function table(rows: string[][]): void {
  for (const line of aligned(rows)) say(`  ${line}`);
}
