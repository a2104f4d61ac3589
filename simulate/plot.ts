// A picture of a comparison: for each policy, the share of requests whose first token came within a time.
import type { RunResult } from "./run.js";

const WIDTH = 760;
const HEIGHT = 420;
const LEFT = 56;
const RIGHT = 20;
const TOP = 28;
const BOTTOM = 48;
/** Okabe and Ito's colours, which colour-blind people tell apart; then the same dashed. */
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];
/** Points of a curve. */
const POINTS = 200;

/** An SVG document; the time axis is logarithmic. */
export function plotOf(title: string, runs: readonly RunResult[]): string {
  const curves = runs.map(({ policy, outcomes }) => ({
    policy,
    times: outcomes
      .filter((o) => o.pod >= 0)
      .map((o) => o.firstToken)
      .sort((a, b) => a - b),
  }));
  const all = curves.flatMap(({ times }) => (times.length > 0 ? [times[0]!, times.at(-1)!] : []));
  const least = Math.floor(Math.log10(Math.max(1e-3, Math.min(...all, 1))));
  const most = Math.max(least + 1, Math.ceil(Math.log10(Math.max(...all, 1e-3))));
  const x = (seconds: number) =>
    LEFT + ((Math.log10(Math.max(seconds, 1e-3)) - least) / (most - least)) * (WIDTH - LEFT - RIGHT);
  const y = (share: number) => TOP + (1 - share) * (HEIGHT - TOP - BOTTOM);
  const parts: string[] = [];
  for (let power = least; power <= most; power++) {
    const at = x(10 ** power).toFixed(1);
    parts.push(
      `<line x1="${at}" y1="${TOP}" x2="${at}" y2="${y(0)}" stroke="#ddd"/>`,
      `<text x="${at}" y="${HEIGHT - BOTTOM + 18}" text-anchor="middle">${+(10 ** power).toPrecision(1)}</text>`,
    );
  }
  for (const share of [0, 0.25, 0.5, 0.75, 0.9, 1]) {
    const at = y(share).toFixed(1);
    parts.push(
      `<line x1="${LEFT}" y1="${at}" x2="${WIDTH - RIGHT}" y2="${at}" stroke="#ddd"/>`,
      `<text x="${LEFT - 8}" y="${at}" dy="4" text-anchor="end">${share * 100} %</text>`,
    );
  }
  curves.forEach(({ policy, times }, i) => {
    const colour = COLOURS[i % COLOURS.length]!;
    const dash = i < COLOURS.length ? "" : ` stroke-dasharray="6 4"`;
    const points = Array.from(
      { length: Math.min(POINTS, times.length) },
      (_, k, n = Math.min(POINTS, times.length)) => {
        const rank = Math.ceil(((k + 1) / n) * times.length);
        return `${x(times[rank - 1]!).toFixed(1)},${y(rank / times.length).toFixed(1)}`;
      },
    );
    const row = TOP + 14 + 18 * i;
    parts.push(
      `<polyline points="${points.join(" ")}" fill="none" stroke="${colour}" stroke-width="2"${dash}/>`,
      `<line x1="${LEFT + 12}" y1="${row}" x2="${LEFT + 36}" y2="${row}" stroke="${colour}" stroke-width="2"${dash}/>`,
      `<text x="${LEFT + 42}" y="${row}" dy="4">${escaped(policy)}</text>`,
    );
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${HEIGHT}" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">
<rect width="${WIDTH}" height="${HEIGHT}" fill="#fff"/>
<text x="${LEFT}" y="18" font-size="14">${escaped(title)}</text>
<text x="${(LEFT + WIDTH - RIGHT) / 2}" y="${HEIGHT - 8}" text-anchor="middle">seconds to the first token</text>
${parts.join("\n")}
</svg>
`;
}

function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
}
