// Order statistics of what a run measured.

/** The values in ascending order. */
export const ascending = (values: readonly number[]): number[] => [...values].sort((a, b) => a - b);

/** The value that a share (0–1) of ascending values lies below; NaN of none. */
export const quantile = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;

export const median = (values: readonly number[]): number => quantile(ascending(values), 0.5);
