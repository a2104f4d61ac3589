// What each pool serves: the names a request may use, and the chat template, learned from the pods themselves.
import type { Logger } from "pino";
import { request } from "undici";
import { boundedJson } from "../bounded-json.js";
import type { PoolConfig } from "../config/load.js";
import type { PodRegistry } from "../load/pod-registry.js";
import type { ModelRow, TemplateProgram, TokenBytes, Wire } from "../wire.js";
import { engineRenderer } from "./engine-renderer.js";
import type { LearnedTemplate, SavedTemplates } from "./saved-templates.js";
import { holdsToday } from "./template.js";
import { type PromptRenderer, probeTemplate, recheckTemplate, type ShapeReport } from "./template-prober.js";

export type TemplateState =
  | { kind: "waiting" | "probing" | "off" }
  /** At least chats without tools, or chats with them, are exact; `shapes` says which requests are. */
  | { kind: "exact"; program: TemplateProgram; verified: number; shapes: ShapeReport[] }
  | { kind: "inexact"; reason: string; program: TemplateProgram; shapes: ShapeReport[] };

/** A pool's model. */
export interface PoolModel {
  readonly pool: PoolConfig;
  /** Id in the index. */
  readonly id: number;
  readonly table: TokenBytes;
  template: TemplateState;
  /** Served name → LoRA adapter ("" = the model itself). */
  names: Map<string, string>;
}

/** Names and adapters of a model, and their bytes; more are not taken. */
const MAX_NAMES = 1024;
const MAX_NAME_BYTES = 255;
const MAX_LIST_BYTES = 1024 * 1024;

const RETRY_MS = 1000;
/** Names are read again this often: adapters come and go. */
const NAMES_MS = 30_000;
/** A pod may be replaced by one with another template: look again this often. */
const VERIFY_MS = 5 * 60_000;
/** A date in the template changes at the pod's midnight, which in every time zone is a quarter of an hour sharp. */
const QUARTER_MS = 15 * 60_000;
/** Until tokens were seen; English text in large vocabularies. */
const DEFAULT_BYTES_PER_TOKEN = 4;
const ENOUGH_TOKENS = 10_000;
const TIMEOUT_MS = 5000;
/** Conversations of each shape that a template from the state folder must print before it is used. */
const CHECKED_WHEN_SAVED = 24;

export class ModelService {
  readonly models: PoolModel[];
  readonly #wire: Wire;
  readonly #pods: PodRegistry;
  readonly #saved: SavedTemplates;
  readonly #log: Logger;
  readonly #onChange: () => void;
  readonly #running = new Map<PoolModel, Promise<void>>();
  readonly #timers = new Map<PoolModel, NodeJS.Timeout>();
  readonly #verifiedAt = new Map<PoolModel, number>();
  #stopped = false;

  /** `onChange` is called after the model section was set. */
  constructor(
    wire: Wire,
    pods: PodRegistry,
    models: PoolModel[],
    saved: SavedTemplates,
    log: Logger,
    onChange: () => void,
  ) {
    this.#wire = wire;
    this.#pods = pods;
    this.#saved = saved;
    this.models = models;
    this.#log = log;
    this.#onChange = onChange;
    this.#publish();
  }

  /** Whether nothing more is to be learned without a pod coming up. */
  settled(model: PoolModel): boolean {
    if (this.#running.has(model)) return false;
    return model.template.kind !== "waiting" || !this.#pods.inPool(model.pool).some((pod) => pod.ready);
  }

  /** A pod of the pool came up. */
  podReady(pool: PoolConfig): void {
    for (const model of this.models) if (model.pool === pool) this.#kick(model);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    for (const timer of this.#timers.values()) clearTimeout(timer);
    await Promise.allSettled(this.#running.values());
  }

  #kick(model: PoolModel): void {
    if (this.#running.has(model) || this.#stopped) return;
    const timer = this.#timers.get(model);
    if (timer) clearTimeout(timer);
    let again = NAMES_MS;
    const untilQuarter = QUARTER_MS - (Date.now() % QUARTER_MS) + 500;
    const run = this.#learn(model)
      .catch((error: Error) => {
        again = RETRY_MS;
        if (model.template.kind === "probing") model.template = { kind: "waiting" };
        if (!this.#stopped)
          this.#log.warn(
            { model: model.pool.model.name, err: error },
            "the model could not be looked at, trying again",
          );
      })
      .finally(() => {
        this.#running.delete(model);
        if (!this.#stopped)
          this.#timers.set(
            model,
            setTimeout(() => this.#kick(model), this.#dated(model) ? Math.min(again, untilQuarter) : again),
          );
      });
    this.#running.set(model, run);
  }

  async #learn(model: PoolModel): Promise<void> {
    const ready = this.#pods.inPool(model.pool).filter((pod) => pod.ready);
    const pod = ready[Math.floor(Math.random() * ready.length)];
    if (!pod) return;
    const names = await servedNames(pod.config.metricsBase);
    const before = this.#describe(model);
    for (const [name, lora] of names) model.names.set(name, lora);
    for (const [name, lora] of model.names) if (lora !== "" && !names.has(name)) model.names.delete(name);
    if (model.template.kind === "waiting") await this.#probe(model, pod.config.metricsBase);
    else if (model.template.kind === "exact" && this.#due(model))
      await this.#recheck(model, pod.config.metricsBase);
    if (this.#stopped || (before === this.#describe(model) && !this.#ratioMoved())) return;
    this.#publish();
    this.#onChange();
  }

  async #probe(model: PoolModel, base: string): Promise<void> {
    const { name, template } = model.pool.model;
    if (template === "none") {
      model.template = { kind: "off" };
      return;
    }
    model.template = { kind: "probing" };
    const before = performance.now();
    const renderer = engineRenderer(base, model.table, model.pool.model.tokenizerPods);
    const saved = await this.#savedTemplate(model, renderer);
    const result = saved ? { exact: true, reason: "", ...saved } : await probeTemplate(renderer, Math.random);
    this.#verifiedAt.set(model, Date.now());
    const { exact, program, verified, shapes, reason } = result;
    model.template = exact
      ? { kind: "exact", program, verified, shapes }
      : { kind: "inexact", reason, program, shapes };
    if (exact && !saved)
      await this.#saved
        .write(name, model.table, { program, verified, shapes })
        .catch((error: Error) =>
          this.#log.warn({ model: name, err: error }, "the template could not be saved"),
        );
    const inexact = shapes.filter((shape) => !shape.exact).map((shape) => shape.shape);
    const fields = {
      event_type: "template",
      model: name,
      ms: Math.round(performance.now() - before),
      saved: saved !== null,
      inexact,
    };
    if (exact) this.#log.info({ ...fields, verified }, "the chat template is known");
    else this.#log.warn(fields, `chats of this model are not matched by text: ${reason}`);
  }

  /** What the state folder has of the model, if its pods still print so. */
  async #savedTemplate(model: PoolModel, renderer: PromptRenderer): Promise<LearnedTemplate | null> {
    const saved = await this.#saved.read(model.pool.model.name, model.table);
    if (!saved) return null;
    try {
      const mismatch = await recheckTemplate(renderer, saved.program, Math.random, CHECKED_WHEN_SAVED);
      return mismatch === null ? saved : null;
    } catch {
      // A damaged file, or a pod that does not answer: learning anew will say which.
      return null;
    }
  }

  async #recheck(model: PoolModel, base: string): Promise<void> {
    if (model.template.kind !== "exact") return;
    const { program } = model.template;
    const renderer = engineRenderer(base, model.table, model.pool.model.tokenizerPods);
    const mismatch = await recheckTemplate(renderer, program, Math.random);
    this.#verifiedAt.set(model, Date.now());
    if (mismatch === null) return;
    this.#log.warn(
      { event_type: "template", model: model.pool.model.name },
      `the chat template changed: ${mismatch}`,
    );
    // What is known is wrong: nothing is matched until it is learned again.
    model.template = { kind: "waiting" };
    this.#publish();
    this.#onChange();
    await this.#probe(model, base);
  }

  #dated(model: PoolModel): boolean {
    return model.template.kind === "exact" && holdsToday(model.template.program, Date.now());
  }

  #due(model: PoolModel): boolean {
    const at = this.#verifiedAt.get(model) ?? 0;
    const now = Date.now();
    if (now - at >= VERIFY_MS || now < at) return true;
    if (!this.#dated(model)) return false;
    return Math.floor(now / QUARTER_MS) !== Math.floor(at / QUARTER_MS);
  }

  #describe(model: PoolModel): string {
    return JSON.stringify([model.template.kind, [...model.names]]);
  }

  #sentRatio = 0;

  #ratio(): number {
    const { bytesSeen, tokensSeen } = this.#wire.stats();
    return tokensSeen >= ENOUGH_TOKENS ? bytesSeen / tokensSeen : DEFAULT_BYTES_PER_TOKEN;
  }

  #ratioMoved(): boolean {
    return Math.abs(this.#ratio() / this.#sentRatio - 1) > 0.05;
  }

  #publish(): void {
    this.#sentRatio = this.#ratio();
    const rows = new Map<string, ModelRow>();
    for (const model of this.models)
      for (const [name, lora] of model.names)
        if (!rows.has(name))
          rows.set(name, {
            name,
            model: model.id,
            lora,
            template:
              model.template.kind === "exact" || model.template.kind === "inexact"
                ? model.template.program
                : null,
            bytesPerToken: this.#sentRatio,
          });
    this.#wire.setModels([...rows.values()]);
  }
}

/** Names and adapters that a server lists at GET /v1/models. @throws when it does not answer. */
async function servedNames(base: string): Promise<Map<string, string>> {
  const response = await request(`${base}/v1/models`, {
    headersTimeout: TIMEOUT_MS,
    bodyTimeout: TIMEOUT_MS,
  });
  if (response.statusCode !== 200) {
    await response.body.dump();
    throw new Error(`${base}/v1/models answers ${response.statusCode}`);
  }
  return namesOf(await boundedJson(response.body, MAX_LIST_BYTES));
}

/** Served names and their adapters ("" = the model itself), out of a list of models. */
export function namesOf(document: unknown): Map<string, string> {
  const { data } = (document ?? {}) as { data?: unknown };
  const names = new Map<string, string>();
  for (const row of Array.isArray(data) ? data : []) {
    const { id, parent } = (row ?? {}) as { id?: unknown; parent?: unknown };
    if (typeof id !== "string" || id === "" || Buffer.byteLength(id) > MAX_NAME_BYTES) continue;
    if (names.size < MAX_NAMES) names.set(id, parent ? id : "");
  }
  return names;
}
