// Owns the index: wire module, token tables, pods in their slots, checkpoint and resume.
import { randomBytes } from "node:crypto";
import fp from "fastify-plugin";
import type { Logger } from "pino";
import type { AgentConfig, PodConfig, PoolConfig } from "../config/load.js";
import { CanonicalCheck } from "../kv/canonical-check.js";
import { PodIndex } from "../kv/pod-index.js";
import { newPod, type Pod, PodRegistry } from "../load/pod-registry.js";
import { loadEncoder } from "../model/canonical-encoder.js";
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
    for (const { model } of config.pools) {
      const id = wire.addModel(model.name);
      if (tokenTables.has(id)) continue;
      const table = byFile.get(model.tokenizerFile) ?? tokenTable(model);
      byFile.set(model.tokenizerFile, table);
      tokenTables.set(id, await table);
      if (!checks.has(id))
        checks.set(id, await sampledTokensCheck(model.tokenizerFile, await table, app.pino));
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

async function tokenTable({ tokenizerFile, tokenizerHub }: PoolConfig["model"]): Promise<TokenBytes> {
  if (tokenizerHub) await fetchTokenizer(tokenizerHub, tokenizerFile, process.env);
  return loadTokenBytes(tokenizerFile);
}

/** The check of a model's sampled tokens; null, which is logged, when the tokenizer library cannot read the file. */
async function sampledTokensCheck(
  file: string,
  table: TokenBytes,
  log: Logger,
): Promise<CanonicalCheck | null> {
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
    } else wire.clearPod(old.slot);
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
