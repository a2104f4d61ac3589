// Where a bench says how it goes, and what it came to.
import { writeFileSync } from "node:fs";

export const say = (line: string) => process.stderr.write(`${line}\n`);

/** Writes the figures as JSON to a file, or to standard output when none is named. */
export function writeResult(file: string | undefined, result: object): void {
  const text = `${JSON.stringify(result, null, 2)}\n`;
  if (file === undefined) process.stdout.write(text);
  else writeFileSync(file, text);
}
