// Numbers that Node needs: it finds them by name in wire.wasm and never repeats them.
import { DECISION_HEAD_BYTES, DECISION_ROW_BYTES, PAIR_HEAD_BYTES } from "./decision-layout";
import {
  TRANSFERS_COUNTERS,
  TRANSFERS_HEAD_BYTES,
  TRANSFERS_ROWS,
  TRANSFERS_ROW_BYTES,
  TRANSFER_COUNTER_COUNT,
} from "./disaggregation-layout";
import {
  HEAD_BYTES,
  KIND_COLUMNS,
  KIND_DECISION,
  KIND_DISAGGREGATION,
  KIND_FOREIGN,
  KIND_HEARTBEAT,
  KIND_HELLO,
  KIND_LOADS,
  KIND_MODELS,
  KIND_PODS,
  KIND_POLICY,
  KIND_PREDICTIONS,
  KIND_REPORT,
  KIND_RESYNC,
  KIND_ROUTED,
  KIND_RULES,
  KIND_SHARE,
  KIND_TRANSFERS,
} from "./frame-layout";
import { POLICY_BYTES } from "./policy-layout";
import {
  PREDICTIONS_HEAD_BYTES,
  PREDICTIONS_ROW_BYTES,
  PREDICTIONS_TENANTS,
  PREDICTIONS_TENANT_BYTES,
} from "./predictions-layout";
import { SCORE_BYTES } from "./prefix-score";
import { MAX_ADAPTERS, MAX_COLUMNS, NO_PROFILE } from "./program-layout";
import {
  HELLO_BYTES,
  REPORT_COUNTERS,
  REPORT_COUNTER_COUNT,
  REPORT_HEAD_BYTES,
  REPORT_OP_BYTES,
  REPORT_OPS,
  REPORT_ROW_BYTES,
} from "./report-layout";
import { ROUTED_HEAD_BYTES, ROUTED_ROW_BYTES } from "./routed-layout";
import { SHARE_HEAD_BYTES, SHARE_ROW_BYTES } from "./sharing-layout";

export const kindPods: u32 = KIND_PODS;
export const kindLoads: u32 = KIND_LOADS;
export const kindModels: u32 = KIND_MODELS;
export const kindPolicy: u32 = KIND_POLICY;
export const kindColumns: u32 = KIND_COLUMNS;
export const kindRules: u32 = KIND_RULES;
export const kindHeartbeat: u32 = KIND_HEARTBEAT;
export const kindHello: u32 = KIND_HELLO;
export const kindReport: u32 = KIND_REPORT;
export const kindResync: u32 = KIND_RESYNC;
export const kindForeign: u32 = KIND_FOREIGN;
export const kindShare: u32 = KIND_SHARE;
export const kindDecision: u32 = KIND_DECISION;
export const kindDisaggregation: u32 = KIND_DISAGGREGATION;
export const kindTransfers: u32 = KIND_TRANSFERS;
export const kindPredictions: u32 = KIND_PREDICTIONS;
export const kindRouted: u32 = KIND_ROUTED;

export const headBytes: u32 = HEAD_BYTES;
export const shareHeadBytes: u32 = SHARE_HEAD_BYTES;
export const shareRowBytes: u32 = SHARE_ROW_BYTES;
export const policyBytes: u32 = POLICY_BYTES;
export const decisionHeadBytes: u32 = DECISION_HEAD_BYTES;
export const decisionRowBytes: u32 = DECISION_ROW_BYTES;
export const decisionPairBytes: u32 = PAIR_HEAD_BYTES;
export const transfersRows: u32 = TRANSFERS_ROWS;
export const transfersCounters: u32 = TRANSFERS_COUNTERS;
export const transferCounterCount: u32 = TRANSFER_COUNTER_COUNT;
export const transfersHeadBytes: u32 = TRANSFERS_HEAD_BYTES;
export const transfersRowBytes: u32 = TRANSFERS_ROW_BYTES;
export const helloBytes: u32 = HELLO_BYTES;
export const reportCounters: u32 = REPORT_COUNTERS;
export const reportCounterCount: u32 = REPORT_COUNTER_COUNT;
export const reportHeadBytes: u32 = REPORT_HEAD_BYTES;
export const reportRowBytes: u32 = REPORT_ROW_BYTES;
export const reportOps: u32 = REPORT_OPS;
export const reportOpBytes: u32 = REPORT_OP_BYTES;
export const predictionsHeadBytes: u32 = PREDICTIONS_HEAD_BYTES;
export const predictionsRowBytes: u32 = PREDICTIONS_ROW_BYTES;
export const predictionsTenants: u32 = PREDICTIONS_TENANTS;
export const predictionsTenantBytes: u32 = PREDICTIONS_TENANT_BYTES;
export const routedHeadBytes: u32 = ROUTED_HEAD_BYTES;
export const routedRowBytes: u32 = ROUTED_ROW_BYTES;
export const scoreBytes: u32 = SCORE_BYTES;
export const noProfile: u32 = NO_PROFILE;
export const maxColumns: u32 = MAX_COLUMNS;
export const maxAdapters: u32 = MAX_ADAPTERS;
