// Settings from the environment, under the names that other KV-cache managers have; they win over the file.
import { ConfigError } from "../errors.js";
import type { AgentConfig } from "./load.js";

/** Variables that are read. Durations are seconds. */
export interface Environment {
  HTTP_PORT?: string;
  ZMQ_BIND_ADDRESS?: string;
  INDEX_TTL?: string;
  INDEX_MAX_BLOCKS?: string;
  INDEX_CLEANUP_INTERVAL?: string;
}

/** @throws ConfigError naming the variable that is wrong. */
export function withEnvironment(config: AgentConfig, env: Environment): AgentConfig {
  const zmqBind = env.ZMQ_BIND_ADDRESS || null;
  if (zmqBind !== null) checkBind(zmqBind, config.token !== null);
  const ttl = whole(env, "INDEX_TTL", 1);
  const cleanup = whole(env, "INDEX_CLEANUP_INTERVAL", 1);
  const port = whole(env, "HTTP_PORT", 0);
  if (port !== null && port > 65535) throw new ConfigError(`HTTP_PORT: ${port} is above 65535`);
  return {
    ...config,
    http: port === null ? config.http : { ...config.http, port },
    zmqBind: zmqBind ?? config.zmqBind,
    index: {
      ttlMs: ttl === null ? config.index.ttlMs : ttl * 1000,
      maxBlocks: whole(env, "INDEX_MAX_BLOCKS", 1) ?? config.index.maxBlocks,
      cleanupMs: cleanup === null ? config.index.cleanupMs : cleanup * 1000,
    },
  };
}

function checkBind(address: string, hasToken: boolean): void {
  const parts = /^tcp:\/\/(\[[0-9a-fA-F:.]+\]|\d{1,3}(?:\.\d{1,3}){3}|\*):(\d{1,5}|\*)$/.exec(address);
  if (!parts)
    throw new ConfigError(`ZMQ_BIND_ADDRESS: ${address} is no address to bind, such as tcp://127.0.0.1:5555`);
  const loopback = parts[1]!.startsWith("127.") || parts[1] === "[::1]";
  if (!loopback && !hasToken)
    throw new ConfigError(
      `ZMQ_BIND_ADDRESS: ${address} is not a loopback address; set tokenFile, or bind 127.0.0.1`,
    );
}

function whole(env: Environment, name: keyof Environment, least: number): number | null {
  const text = env[name];
  if (text === undefined || text === "") return null;
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < least)
    throw new ConfigError(`${name}: ${JSON.stringify(text)} is no whole number from ${least} on`);
  return value;
}
