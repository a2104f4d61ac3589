// What every fuzz target is, and how a fault is told: by the seed that brings it back.

/** A property that did not hold. `seed` alone repeats it: `npm run fuzz -- --target T --seed S --cases 1`. */
export class Fault extends Error {
  constructor(
    readonly target: string,
    readonly seed: number,
    readonly what: string,
    /** The input, printable. */
    readonly input: string,
  ) {
    super(
      `${target}: ${what}\n  input: ${input}\n  again: npm run fuzz -- --target ${target} --seed ${seed} --cases 1`,
    );
  }
}

/** One thing to fuzz. */
export interface Target {
  readonly name: string;
  /**
   * Runs what `seed` stands for, one case or a sequence of them, and returns how many cases that was.
   * @throws Fault when a property does not hold or the module traps.
   */
  run(seed: number): number | Promise<number>;
}

export interface Outcome {
  target: string;
  cases: number;
  seconds: number;
  casesPerSecond: number;
  firstSeed: number;
  nextSeed: number;
}

/**
 * Runs a target from `seed` on until `most` cases are done or `until` (ms of performance.now) has come. `progress` is
 * called about each second.
 * @throws Fault
 */
export async function runTarget(
  target: Target,
  seed: number,
  most: number,
  until = Number.POSITIVE_INFINITY,
  progress: (done: number) => void = () => {},
): Promise<Outcome> {
  const start = performance.now();
  let done = 0;
  let next = seed >>> 0;
  let lookAt = 1000;
  let told = start;
  while (done < most) {
    const cases = target.run(next);
    done += typeof cases === "number" ? cases : await cases;
    next = (next + 1) >>> 0;
    if (done < lookAt) continue;
    lookAt = done + 1000;
    const now = performance.now();
    if (now >= until) break;
    if (now - told > 1000) {
      told = now;
      progress(done);
    }
  }
  const seconds = (performance.now() - start) / 1000;
  return {
    target: target.name,
    cases: done,
    seconds,
    casesPerSecond: Math.round(done / seconds),
    firstSeed: seed >>> 0,
    nextSeed: next,
  };
}

/** Bytes as text that can be pasted into a test: printable ASCII as it is, the rest as \xNN. */
export function printable(bytes: Uint8Array, limit = 2000): string {
  let out = "";
  for (const b of bytes.subarray(0, limit))
    out += b >= 32 && b < 127 && b !== 92 ? String.fromCharCode(b) : `\\x${b.toString(16).padStart(2, "0")}`;
  return bytes.length > limit ? `${out}… (${bytes.length} bytes)` : out;
}
