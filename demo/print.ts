// What the demo writes for people.
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

export const percent = (v: number) => `${(v * 100).toFixed(1)} %`;

/** Rows with aligned columns, the first one being the head. */
export function table(rows: string[][]): void {
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((r) => r[i]!.length)));
  for (const row of rows)
    say(`  ${row.map((cell, i) => (i ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!))).join("  ")}`);
}
