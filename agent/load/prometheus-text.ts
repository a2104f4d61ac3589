// Just enough of the Prometheus text format to read an engine's metrics quickly.

export interface Sample {
  name: string;
  labels: Record<string, string>;
  value: number;
}

const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"/g;

/** Samples whose name `wanted` has, in the order of the text. Lines that are not samples are passed over. */
export function samplesOf(text: string, wanted: ReadonlySet<string>): Sample[] {
  const samples: Sample[] = [];
  for (let at = 0; at < text.length; ) {
    let end = text.indexOf("\n", at);
    if (end < 0) end = text.length;
    const sample = text.charCodeAt(at) === 35 ? null : sampleOf(text, at, end, wanted);
    if (sample) samples.push(sample);
    at = end + 1;
  }
  return samples;
}

function sampleOf(text: string, start: number, end: number, wanted: ReadonlySet<string>): Sample | null {
  let stop = start;
  for (; stop < end; stop++) {
    const c = text.charCodeAt(stop);
    if (c === 123 || c === 32 || c === 9) break;
  }
  const name = text.slice(start, stop);
  if (!wanted.has(name)) return null;
  const labels: Record<string, string> = {};
  let rest = text.slice(stop, end);
  if (rest.startsWith("{")) {
    const close = rest.lastIndexOf("}");
    if (close < 0) return null;
    for (const [, key, value] of rest.slice(1, close).matchAll(LABEL))
      labels[key!] = value!.replace(/\\(.)/g, (_, c: string) => (c === "n" ? "\n" : c));
    rest = rest.slice(close + 1);
  }
  const number = rest.trim().split(/\s+/)[0]!;
  const value = number === "+Inf" ? Infinity : number === "-Inf" ? -Infinity : Number(number);
  return number === "" || (Number.isNaN(value) && number !== "NaN") ? null : { name, labels, value };
}
