// The fuzz targets by name, and what each gets in CI.
import { recordHistory } from "./agent-history.js";
import { AnnouncedTarget } from "./announced-target.js";
import { EventsTarget } from "./events-target.js";
import { FilterTarget } from "./filter-target.js";
import { RenderTarget } from "./render-target.js";
import { ScanTarget } from "./scan-target.js";
import { ScoreTarget } from "./score-target.js";
import { TableTarget } from "./table-target.js";
import type { Target } from "./target.js";
import { TemplateTarget } from "./template-target.js";
import { TokenizerTarget } from "./tokenizer-target.js";
import { TurnsTarget } from "./turns-target.js";

export const TARGETS = [
  "scan",
  "render",
  "turns",
  "table",
  "filter",
  "tokenizer",
  "events",
  "announced",
  "score",
  "template",
] as const;
export type TargetName = (typeof TARGETS)[number];

/** Cases of a run in CI: three million and a few in all. */
export const CI_CASES: Record<TargetName, number> = {
  scan: 1_200_000,
  render: 500_000,
  turns: 20_000,
  table: 300_000,
  filter: 60_000,
  tokenizer: 30_000,
  events: 700_000,
  announced: 200_000,
  score: 150_000,
  template: 30_000,
};

export async function makeTarget(name: TargetName): Promise<Target> {
  switch (name) {
    case "scan":
      return new ScanTarget();
    case "render":
      return new RenderTarget();
    case "turns":
      return new TurnsTarget();
    case "table":
      return new TableTarget(await recordHistory());
    case "filter":
      return new FilterTarget(await recordHistory());
    case "tokenizer":
      return new TokenizerTarget();
    case "events":
      return new EventsTarget();
    case "announced":
      return new AnnouncedTarget();
    case "score":
      return ScoreTarget.create();
    case "template":
      return new TemplateTarget();
  }
}
