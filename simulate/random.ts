// Random numbers of a run: one stream per use, so that policies compared in one run meet the same requests.

export interface Random {
  /** Above or equal 0, below 1. */
  unit(): number;
  /** A whole number below `n`. */
  below(n: number): number;
  /** Exponential with this mean. */
  exponential(mean: number): number;
  /** Log-normal with this mean and standard deviation. */
  logNormal(mean: number, deviation: number): number;
}

/** Numbers in [0, 1) by mulberry32 (T. Ettinger, public domain): enough for workloads, the same on every machine. */
export function seeded(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export function seededRandom(seed: number): Random {
  const unit = seeded(seed);
  const normal = () => Math.sqrt(-2 * Math.log(1 - unit())) * Math.cos(2 * Math.PI * unit());
  return {
    unit,
    below: (n) => Math.floor(unit() * n),
    exponential: (mean) => -Math.log(1 - unit()) * mean,
    logNormal: (mean, deviation) => {
      const variance = Math.log(1 + (deviation / mean) ** 2);
      return Math.exp(Math.log(mean) - variance / 2 + Math.sqrt(variance) * normal());
    },
  };
}
