// Numbers on command lines. Each throws what commander prints beside the name of the flag.
import { InvalidArgumentError } from "commander";

/** Reads whole numbers of a range. */
export const wholeFrom =
  (least: number, most = Number.MAX_SAFE_INTEGER) =>
  (text: string): number => {
    const n = Number(text);
    const range = most < Number.MAX_SAFE_INTEGER ? `from ${least} to ${most}` : `of at least ${least}`;
    if (text.trim() === "" || !Number.isInteger(n) || n < least || n > most)
      throw new InvalidArgumentError(`must be a whole number ${range}.`);
    return n;
  };

/** Reads a number above 0. */
export function positive(text: string): number {
  const n = Number(text);
  if (!(n > 0) || !Number.isFinite(n)) throw new InvalidArgumentError("must be a number above 0.");
  return n;
}
