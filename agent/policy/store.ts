// The policy in force: one at a time, numbered, kept in the state folder before anybody acts on it.
import type { Logger } from "pino";
import type { AgentConfig } from "../config/load.js";
import type { Mistake } from "../config/validate.js";
import { type CheckedPolicy, checkPolicy } from "./check.js";
import type { Note, PolicyProgram } from "./compile.js";
import { digestOf } from "./digest.js";
import type { Policy } from "./document.js";
import { readSavedPolicy, writeSavedPolicy } from "./saved-policy.js";

export interface ActivePolicy {
  /** Goes up by one with each change, across restarts too. */
  version: number;
  /** Entity tag: version and digest. Quotes included. */
  etag: string;
  source: "file" | "rest";
  /** ISO 8601. */
  changedAt: string;
  policy: Policy;
  program: PolicyProgram;
  notes: Note[];
}

/** Why a change did not happen. */
export type Refusal =
  | { refused: "precondition"; current: ActivePolicy }
  | { refused: "mistakes"; mistakes: Mistake[] }
  | { refused: "state"; reason: string };

export type Change = { changed: boolean; current: ActivePolicy } | Refusal;

/** Settings that index and table are built with. */
const FIXED = ["blockBytes", "maxEntries"] as const;

export class PolicyStore {
  readonly #folder: string;
  readonly #fileDigest: string;
  /** Attributes that plugin modules provide. */
  readonly #modules: readonly string[];
  #current: ActivePolicy;
  #last: Promise<unknown> = Promise.resolve();
  /** Called after a change has been kept. */
  onChange: (active: ActivePolicy) => void = () => {};

  private constructor(config: AgentConfig, current: ActivePolicy) {
    this.#folder = config.stateFolder;
    this.#fileDigest = config.policyDigest;
    this.#modules = config.plugins.map(({ name }) => name);
    this.#current = current;
  }

  /**
   * Takes up what was in force before, unless the policy in warmgate.yaml was changed since: then that one counts.
   * A saved policy that cannot be used is said in the log, and the file's counts.
   */
  static async open(config: AgentConfig, log: Logger): Promise<PolicyStore> {
    const { stateFolder: folder, policyDigest: fileDigest } = config;
    const saved = await readSavedPolicy(folder).catch((error: Error) => {
      log.warn({ event_type: "policy" }, `${error.message}: the policy of warmgate.yaml counts`);
      return null;
    });
    if (saved && saved.fileDigest === fileDigest) {
      const checked = checkPolicy(
        saved.policy,
        config.plugins.map(({ name }) => name),
      );
      if (checked.right)
        return new PolicyStore(config, active(checked, saved.version, saved.source, saved.changedAt));
      log.warn(
        { event_type: "policy", mistakes: checked.mistakes },
        "the saved policy is not understood by this release: the policy of warmgate.yaml counts",
      );
    } else if (saved?.source === "rest")
      log.warn(
        { event_type: "policy", version: saved.version, policy: saved.policy },
        "the policy of warmgate.yaml was changed and replaces the one set over REST",
      );
    const checked: CheckedPolicy = {
      right: true,
      policy: config.policyDocument,
      program: config.policy,
      notes: config.policyNotes,
    };
    const store = new PolicyStore(
      config,
      active(checked, (saved?.version ?? 0) + 1, "file", new Date().toISOString()),
    );
    await store.#keep(store.#current).catch((error: Error) => {
      log.warn(
        { event_type: "policy" },
        `${error.message}: the policy's version begins anew after a restart`,
      );
    });
    return store;
  }

  get current(): ActivePolicy {
    return this.#current;
  }

  /**
   * Changes the policy, one change at a time: `make` gives the new one as somebody would write it. It is refused when
   * `allowed` says that what is in force is not what the writer knew. A policy that is in force already stays, with
   * its version. Nothing changes unless the state folder has it.
   */
  change(make: (current: Policy) => unknown, allowed: (etag: string) => boolean): Promise<Change> {
    const result = this.#last.then(() => this.#change(make, allowed));
    this.#last = result.catch(() => {});
    return result;
  }

  async #change(make: (current: Policy) => unknown, allowed: (etag: string) => boolean): Promise<Change> {
    const before = this.#current;
    if (!allowed(before.etag)) return { refused: "precondition", current: before };
    const checked = checkPolicy(make(before.policy), this.#modules);
    if (!checked.right) return { refused: "mistakes", mistakes: checked.mistakes };
    const fixed = FIXED.filter((key) => checked.program[key] !== before.program[key]);
    if (fixed.length > 0)
      return {
        refused: "mistakes",
        mistakes: fixed.map((key) => ({
          path: ["limits", key],
          message: `cannot change while the agent runs, stays ${before.program[key]}; set it in warmgate.yaml and restart`,
        })),
      };
    if (digestOf(checked.policy) === digestOf(before.policy)) return { changed: false, current: before };
    const next = active(checked, before.version + 1, "rest", new Date().toISOString());
    try {
      await this.#keep(next);
    } catch (error) {
      return { refused: "state", reason: (error as Error).message };
    }
    this.#current = next;
    this.onChange(next);
    return { changed: true, current: next };
  }

  #keep({ version, source, changedAt, policy }: ActivePolicy): Promise<void> {
    return writeSavedPolicy(this.#folder, {
      version,
      source,
      changedAt,
      fileDigest: this.#fileDigest,
      policy,
    });
  }
}

function active(
  { policy, program, notes }: CheckedPolicy,
  version: number,
  source: "file" | "rest",
  changedAt: string,
): ActivePolicy {
  const etag = `"${version}-${digestOf(policy).slice(0, 12)}"`;
  return { version, etag, source, changedAt, policy, program, notes };
}
