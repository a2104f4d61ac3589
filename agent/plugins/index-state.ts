// Owns the index: wire module, token tables, pods in their slots, checkpoint and resume.
import { randomBytes } from "node:crypto";
import fp from "fastify-plugin";
import type { Logger } from "pino";
import type { AgentConfig, PodConfig, PoolConfig } from "../config/load.js";
import { StartError } from "../errors.js";
import { CanonicalCheck } from "../kv/canonical-check.js";
import { PodIndex } from "../kv/pod-index.js";
import { newPod, type Pod, PodRegistry } from "../load/pod-registry.js";
import { loadEncoder } from "../model/canonical-encoder.js";
import {
  learnTokenBytes,
  readLearned,
  stillTold,
  TokenizerNotTold,
  writeLearned,
} from "../model/pod-tokenizer.js";
import { loadTokenBytes } from "../model/token-bytes.js";
import { fetchTokenizer } from "../model/tokenizer-hub.js";
import { Readiness } from "../readiness.js";
import { Checkpointer } from "../state/checkpointer.js";
import { type Checkpoint, installationSecret, readCheckpoint, type SavedPod } from "../state/state-folder.js";
import { type TokenBytes, Wire } from "../wire.js";

declare module "fastify" {
  interface FastifyInstance {
    config: AgentConfig;
    wire: Wire;
    registry: PodRegistry;
    /** Checks of sampled tokens by model id; null where a tokenizer cannot be read. */
    canonicalChecks: Map<number, CanonicalCheck | null>;
    /** Token bytes by model id. */
    tokenTables: Map<number, TokenBytes>;
    checkpointer: Checkpointer;
    /** Places from the checkpoint that the index was restored from, by slot. */
    saved: Map<number, SavedPod>;
    readiness: Readiness;
  }
}

export default fp<{ config: AgentConfig }>(
  async (app, { config }) => {
    const wire = await Wire.create({
      secret: installationSecret(config.stateFolder, config.secretFile),
      blockBytes: config.policy.blockBytes,
      maxEntries: config.policy.maxEntries,
      leader: randomBytes(8).readBigUInt64LE(),
      startMs: BigInt(Date.now()),
    });
    const tokenTables = new Map<number, TokenBytes>();
    const checks = new Map<number, CanonicalCheck | null>();
    const byFile = new Map<string, Promise<TokenBytes>>();
    for (const { model, pods: served } of config.pools) {
      const id = wire.addModel(model.name);
      if (tokenTables.has(id)) continue;
      const table = byFile.get(model.tokenizerFile) ?? tokenTable(model, served, app.pino);
      byFile.set(model.tokenizerFile, table);
      tokenTables.set(id, await table);
      if (!checks.has(id)) checks.set(id, await sampledTokensCheck(model, await table, app.pino));
      wire.setTokenBytes(id, await table);
    }
    const { policy } = config;
    wire.setPolicy({
      version: 1,
      scheduling: policy.scheduling,
      bodyReadBytes: policy.bodyReadBytes,
      debugHeaders: policy.debugHeaders,
      reservedFields: policy.reservedFields,
      isolation: policy.isolation,
      staleMaxMs: policy.staleMaxMs,
      loadTtlMs: policy.scrape.engine?.ttlMs ?? config.scrape.ttlMs,
    });

    const checkpoint = await readCheckpoint(config.stateFolder);
    const restored = checkpoint !== null && wire.restore(checkpoint.index);
    if (checkpoint && !restored)
      app.log.warn(
        { event_type: "resume" },
        "the checkpoint is damaged or of another secret: the index starts empty",
      );
    const { pods, saved } = seat(config, wire, restored ? checkpoint : null, checks);

    const registry = new PodRegistry(pods);
    const checkpointer = new Checkpointer(
      config.stateFolder,
      () => ({ pods: pods.map(savedPod), index: wire.checkpoint() }),
      app.pino.child({ component: "state" }),
    );
    app.decorate("config", config);
    app.decorate("wire", wire);
    app.decorate("registry", registry);
    app.decorate("tokenTables", tokenTables);
    app.decorate("canonicalChecks", checks);
    app.decorate("checkpointer", checkpointer);
    app.decorate("saved", saved);
    app.decorate("readiness", new Readiness());
    app.readiness.note(() =>
      restored
        ? []
        : [
            {
              code: "no_checkpoint",
              detail: "started without a checkpoint: prefixes cached before are unknown until seen again",
            },
          ],
    );
    app.addHook("onClose", () => checkpointer.stop());
  },
  { name: "index-state" },
);

async function tokenTable(
  { name, tokenizerFile, tokenizerHub, tokenizerPods }: PoolConfig["model"],
  pods: PodConfig[],
  log: Logger,
): Promise<TokenBytes> {
  if (tokenizerPods) return podTokens(name, tokenizerFile, pods, log);
  if (tokenizerHub) await fetchTokenizer(tokenizerHub, tokenizerFile, process.env);
  return loadTokenBytes(tokenizerFile);
}

/** Between two tries to find a pod that answers, ms. */
const ASK_AGAIN_MS = 1000;

/**
 * The tokens as a pod tells them, kept in `file`. Without a pod that answers what was kept is used; else the agent waits
 * for one. @throws StartError when a pod answers and does not tell enough.
 */
async function podTokens(name: string, file: string, pods: PodConfig[], log: Logger): Promise<TokenBytes> {
  const kept = await readLearned(file);
  for (let tries = 0; ; tries++) {
    for (const { metricsBase } of pods)
      try {
        if (kept && (await stillTold(metricsBase, kept))) return kept;
        const table = await learnTokenBytes(metricsBase);
        const known = table.known.reduce((n, k) => n + k, 0);
        log.info(
          { event_type: "tokenizer", model: name, known, of: table.known.length },
          "the pods told their tokens",
        );
        await writeLearned(file, table).catch((error: Error) =>
          log.warn(
            { event_type: "tokenizer", err: error },
            "the tokens that were learned could not be saved",
          ),
        );
        return table;
      } catch (error) {
        if (error instanceof TokenizerNotTold)
          throw new StartError(`${error.message}; set model.tokenizer of ${name} to a tokenizer.json`);
      }
    if (kept) return kept;
    if (tries % 30 === 0)
      log.warn({ event_type: "tokenizer", model: name }, "no pod answers yet that could tell its tokens");
    await new Promise((wake) => setTimeout(wake, ASK_AGAIN_MS));
  }
}

/** The check of a model's sampled tokens; null, which is logged, when the tokenizer library cannot read the file. */
async function sampledTokensCheck(
  { tokenizerFile: file, tokenizerPods }: PoolConfig["model"],
  table: TokenBytes,
  log: Logger,
): Promise<CanonicalCheck | null> {
  if (tokenizerPods) {
    log.warn({ event_type: "tokenizer" }, "sampled tokens can only be checked with a tokenizer.json");
    return null;
  }
  try {
    return new CanonicalCheck(await loadEncoder(file), table);
  } catch (error) {
    log.warn({ event_type: "tokenizer", file, err: error }, "sampled tokens of this model cannot be checked");
    return null;
  }
}

/** Gives every pod a slot, its old one where the checkpoint has it; what belongs to nobody any more is wiped. */
function seat(
  config: AgentConfig,
  wire: Wire,
  checkpoint: Checkpoint | null,
  checks: Map<number, CanonicalCheck | null>,
): { pods: Pod[]; saved: Map<number, SavedPod> } {
  const wanted = config.pools.flatMap((pool) => pool.pods.map((pod) => ({ pool, pod })));
  const saved = new Map<number, SavedPod>();
  const seats = new Map<PodConfig, number>();
  for (const old of checkpoint?.pods ?? []) {
    const match = wanted.find(({ pool, pod }) => same(old, pool, pod) && !seats.has(pod));
    if (match && !saved.has(old.slot)) {
      saved.set(old.slot, old);
      seats.set(match.pod, old.slot);
    } else {
      wire.clearPod(old.slot);
      wire.dropApproximate(old.slot);
    }
  }
  let free = 0;
  const pods = wanted.map(({ pool, pod }) => {
    let slot = seats.get(pod);
    if (slot === undefined) {
      while (saved.has(free)) free++;
      slot = free++;
    }
    const model = wire.addModel(pool.model.name);
    const made = newPod({
      config: pod,
      pool,
      slot,
      model,
      index: new PodIndex(wire, slot, model, checks.get(model) ?? null),
    });
    made.promptTokens = saved.get(slot)?.promptTokens ?? 0;
    made.startTime = saved.get(slot)?.startTime ?? null;
    return made;
  });
  return { pods, saved };
}

function same(old: SavedPod, pool: PoolConfig, pod: PodConfig): boolean {
  return old.name === pod.name && old.address === pod.address && old.model === pool.model.name;
}

function savedPod(pod: Pod): SavedPod {
  const position = pod.feed?.position ?? null;
  return {
    name: pod.config.name,
    address: pod.config.address,
    model: pod.pool.model.name,
    slot: pod.slot,
    sequence: position?.sequence ?? null,
    time: position?.time ?? null,
    suspect: pod.index.suspect,
    promptTokens: pod.promptTokens,
    startTime: pod.startTime,
  };
}
