// Modules of one's own (`--plugin file.js`) that give every pod a value, for endpoint-attribute plugins and expressions.
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { Logger } from "pino";
import { DURATION_PATTERN, durationMs } from "../config/duration.js";
import { ConfigError } from "../errors.js";
import type { PodRegistry } from "./pod-registry.js";

/** What a module is told of a pod. */
export interface PodFacts {
  name: string;
  address: string;
  labels: Readonly<Record<string, string>>;
  ready: boolean;
  waiting: number;
  running: number;
  /** 0–1 */
  kvUsage: number;
}

/** The default export of a module. */
export interface ColumnPlugin {
  /** What policies call the column: letters, digits and _. */
  name: string;
  /** How often it is asked, such as "1s"; default "5s". Values are used for three intervals. */
  interval?: string;
  /** A value for each pod by its name; pods that are left out have none. */
  column(pods: readonly PodFacts[]): Record<string, number> | Promise<Record<string, number>>;
}

/** A module as the agent runs it. */
export interface LoadedPlugin {
  name: string;
  intervalMs: number;
  column: ColumnPlugin["column"];
}

/** Loads modules. @throws ConfigError naming the file and what is wrong with it. */
export async function loadPlugins(files: readonly string[]): Promise<LoadedPlugin[]> {
  const loaded: LoadedPlugin[] = [];
  for (const file of files) {
    let module: { default?: Partial<ColumnPlugin> };
    try {
      module = await import(pathToFileURL(resolve(file)).href);
    } catch (error) {
      throw new ConfigError(`${file}: cannot be loaded (${(error as Error).message})`);
    }
    const { name, interval = "5s", column } = module.default ?? {};
    if (typeof name !== "string" || !/^[a-zA-Z_][a-zA-Z0-9_]*$/.test(name))
      throw new ConfigError(`${file}: its default export needs a name of letters, digits and _`);
    if (typeof column !== "function")
      throw new ConfigError(`${file}: its default export needs a function column(pods)`);
    if (!new RegExp(DURATION_PATTERN).test(interval) || durationMs(interval) < 100)
      throw new ConfigError(`${file}: interval must be a duration of at least 100ms such as 5s`);
    if (loaded.some((plugin) => plugin.name === name))
      throw new ConfigError(`${file}: another plugin is called ${name} too`);
    loaded.push({ name, intervalMs: durationMs(interval), column: column.bind(module.default) });
  }
  return loaded;
}

/** Asks modules on their timers and puts what they say into the pods' columns. */
export class ColumnPlugins {
  readonly #plugins: readonly LoadedPlugin[];
  readonly #registry: PodRegistry;
  readonly #log: Logger;
  readonly #onChange: () => void;
  readonly #busy = new Set<string>();
  readonly #failing = new Set<string>();
  #timers: NodeJS.Timeout[] = [];

  constructor(plugins: readonly LoadedPlugin[], registry: PodRegistry, log: Logger, onChange: () => void) {
    this.#plugins = plugins;
    this.#registry = registry;
    this.#log = log;
    this.#onChange = onChange;
  }

  start(): void {
    for (const plugin of this.#plugins) {
      void this.#ask(plugin);
      this.#timers.push(setInterval(() => void this.#ask(plugin), plugin.intervalMs));
    }
  }

  stop(): void {
    for (const timer of this.#timers.splice(0)) clearInterval(timer);
  }

  async #ask({ name, intervalMs, column }: LoadedPlugin): Promise<void> {
    if (this.#busy.has(name)) return;
    this.#busy.add(name);
    try {
      const values = await column(
        this.#registry.pods.map((pod) => ({
          name: pod.config.name,
          address: pod.config.address,
          labels: pod.config.labels,
          ready: pod.ready,
          waiting: pod.metrics?.waiting ?? 0,
          running: pod.metrics?.running ?? 0,
          kvUsage: pod.metrics?.kvUsage ?? 0,
        })),
      );
      const at = performance.now();
      for (const pod of this.#registry.pods) {
        const value = values?.[pod.config.name];
        if (typeof value === "number" && Number.isFinite(value))
          pod.attributes.set(name, { value, at, ttlMs: intervalMs * 3 });
      }
      this.#failing.delete(name);
      this.#onChange();
    } catch (error) {
      // Once until it works again: a module that fails does so every interval.
      if (!this.#failing.has(name))
        this.#log.warn({ event_type: "plugin", plugin: name, err: error }, `plugin ${name} failed`);
      this.#failing.add(name);
    } finally {
      this.#busy.delete(name);
    }
  }
}
