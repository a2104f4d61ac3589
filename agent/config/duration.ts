const UNITS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** Form of a duration in a configuration file: a number and its unit. */
export const DURATION_PATTERN = "^[0-9]+(\\.[0-9]+)?(ms|s|m|h)$";

/**
 * Milliseconds of a duration such as `500ms`, `5s`, `1.5m`, `2h`.
 * @throws RangeError when the text has another form.
 */
export function durationMs(text: string): number {
  const match = /^([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)$/.exec(text);
  if (!match) throw new RangeError(`${JSON.stringify(text)} is not a duration such as 500ms, 5s or 2m`);
  return Number(match[1]) * UNITS[match[2]!]!;
}
