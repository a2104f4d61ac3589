import { createHash } from "node:crypto";

/** SHA-256 in hex of a JSON value, whatever the order of its members. */
export function digestOf(value: unknown): string {
  return createHash("sha256")
    .update(JSON.stringify(value, sorted) ?? "")
    .digest("hex");
}

function sorted(_key: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}
