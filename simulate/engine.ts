// What one step of a simulated engine costs. docs/simulate.md has the sources of the constants.
import { type CostModel, H200_8B } from "./cost-model.js";

export interface Engine {
  name: string;
  /** Tokens that the KV cache holds. */
  capacity: number;
  /** Tokens per second of a long prefill, without attention. */
  prefillRate: number;
  /** Seconds per pair of a prefilled token and a token before it. */
  attention: number;
  /** Seconds to read the weights once: no step is shorter. */
  weights: number;
  /** Seconds to read the KV cache of one token for one decode. */
  kvRead: number;
  /** Seconds of each step, and more for each request in it. */
  step: number;
  stepRequest: number;
  /** No step takes fewer seconds, and fewer for each request in it: launching the kernels. */
  floor: number;
  floorRequest: number;
  /** Share by which each decode slows the prefills of its step. */
  mixed: number;
  /** Seconds from the router to the engine's queue: HTTP, tokenizing. */
  frontEnd: number;
  /** Most tokens of one step, and most requests. */
  budget: number;
  sequences: number;
}

/** BLIS's roofline (inference-sim, defaults.yaml): seconds a step, a layer, a request, and of the front end. */
const STEP = 126e-6;
const LAYER = 32.1e-6;
const STEP_REQUEST = 4.42e-6;
const FRONT_END = 15.6e-3;
/** vLLM's defaults for a server. */
const BUDGET = 8192;
const SEQUENCES = 256;

/** Bytes per second that an H100 (SXM) reads. */
const BANDWIDTH = 3.35e12;
/** A decode reads weights this much slower than the bandwidth says. */
const WEIGHT_READ = 1.3625;

interface Shape {
  layers: number;
  /** Query heads × head size. */
  queryWidth: number;
  /** Parameters that each token passes, embeddings left out. */
  parameters: number;
  /** KV-cache bytes of a token. */
  kvBytes: number;
  gpus: number;
  /** How much slower than the bandwidth a decode reads the KV cache. */
  kvSlowdown: number;
  /** Tokens per second of a first chunk of BUDGET tokens, attention among them included. */
  chunkRate: number;
  capacity: number;
}

function engine(name: string, s: Shape): Engine {
  const linear = 2 * s.parameters;
  const attention = 4 * s.queryWidth * s.layers;
  const flops = s.chunkRate * (linear + (attention * BUDGET) / 2);
  return {
    name,
    capacity: s.capacity,
    prefillRate: flops / linear,
    attention: attention / flops,
    weights: (WEIGHT_READ * 2 * s.parameters) / (BANDWIDTH * s.gpus),
    kvRead: (s.kvSlowdown * s.kvBytes) / (BANDWIDTH * s.gpus),
    step: STEP + LAYER * s.layers,
    stepRequest: STEP_REQUEST,
    floor: 0,
    floorRequest: 0,
    mixed: 0,
    frontEnd: FRONT_END,
    budget: BUDGET,
    sequences: SEQUENCES,
  };
}

/** The engine that simulated pods (simulator/) are, with a cache of so many tokens. */
export function measuredEngine(name: string, m: CostModel, capacity: number): Engine {
  return {
    name,
    capacity,
    prefillRate: 1000 / m.prefillPerTokenMs,
    // A difference of squares is twice the pairs.
    attention: (2 * m.prefillPerSquareMs) / 1000,
    weights: m.weightsMs / 1000,
    kvRead: m.decodePerContextTokenMs / 1000,
    step: 0,
    stepRequest: 0,
    floor: m.floorMs / 1000,
    floorRequest: m.floorPerSequenceMs / 1000,
    mixed: m.mixedSlowdown,
    frontEnd: m.frontEndMs / 1000,
    budget: BUDGET,
    sequences: SEQUENCES,
  };
}

/** The same engine on a clock that runs `scale` times as fast. */
export function faster(e: Engine, scale: number): Engine {
  return {
    ...e,
    prefillRate: e.prefillRate * scale,
    attention: e.attention / scale,
    weights: e.weights / scale,
    kvRead: e.kvRead / scale,
    step: e.step / scale,
    stepRequest: e.stepRequest / scale,
    floor: e.floor / scale,
    floorRequest: e.floorRequest / scale,
    frontEnd: e.frontEnd / scale,
  };
}

/** Engines by name. */
export const ENGINES = {
  "8b-h200": measuredEngine("8b-h200", H200_8B, 856_784),
  "8b-h100": engine("8b-h100", {
    layers: 32,
    queryWidth: 4096,
    parameters: 6.98e9,
    kvBytes: 131_072,
    gpus: 1,
    kvSlowdown: 1.947,
    chunkRate: 33_600,
    capacity: 430_000,
  }),
  "32b-2xh100": engine("32b-2xh100", {
    layers: 64,
    queryWidth: 8192,
    parameters: 31.2e9,
    kvBytes: 262_144,
    gpus: 2,
    kvSlowdown: 1.33,
    chunkRate: 15_800,
    capacity: 308_000,
  }),
} as const;

export type EngineName = keyof typeof ENGINES;

/** What one step does. */
export interface StepWork {
  requests: number;
  /** Tokens computed, decodes included. */
  tokens: number;
  /** Pairs of a prefilled token and a token before it. */
  pairs: number;
  /** Decodes, and the tokens in their contexts. */
  decodes: number;
  context: number;
}

/** Seconds of a step: compute and reading the weights overlap, attention and reading the KV cache come on top. */
export function stepSeconds(e: Engine, w: StepWork): number {
  const slow = 1 + e.mixed * w.decodes;
  const seconds =
    e.step +
    e.stepRequest * w.requests +
    Math.max(e.weights, (w.tokens / e.prefillRate) * slow) +
    e.attention * w.pairs * slow +
    e.kvRead * w.context;
  return Math.max(e.floor + e.floorRequest * w.requests, seconds);
}
