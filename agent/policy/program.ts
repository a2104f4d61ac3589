// What gateways run to choose pods: profiles of filters, scorers and a picker, in numbers and names that wasm/shared/
// program-layout.ts defines. The compiler writes it, wire.ts puts it into the table.

export type OpName =
  | "FilterLabels"
  | "FilterPrefixAffinity"
  | "FilterSession"
  | "FilterUtilization"
  | "FilterAttribute"
  | "FilterLora"
  | "FilterContextLength"
  | "FilterExpression"
  | "Queue"
  | "Running"
  | "KvUsage"
  | "LoadAware"
  | "LoadBlend"
  | "ActiveRequests"
  | "TokenLoad"
  | "Prefix"
  | "Lora"
  | "Session"
  | "NoHitLru"
  | "ContextLength"
  | "Attribute"
  | "HeaderLabel"
  | "Random"
  | "Expression"
  | "WarmUntilBusy"
  | "RoundRobin"
  | "MaxScore"
  | "WeightedRandom"
  | "RandomPick";

export type CodeName =
  | "Constant"
  | "Variable"
  | "Column"
  | "Negate"
  | "Not"
  | "Absolute"
  | "Floor"
  | "SquareRoot"
  | "Exponential"
  | "Logarithm"
  | "Add"
  | "Subtract"
  | "Multiply"
  | "Divide"
  | "Minimum"
  | "Maximum"
  | "Less"
  | "AtMost"
  | "Equal"
  | "And"
  | "Or"
  | "Select";

/** A number, or the name of one in an enum of program-layout.ts. */
export type ProgramNumber = number | `${"Tie" | "Stickiness" | "Variable"}.${string}`;

export interface ProgramOp {
  op: OpName;
  /** What the plugin is called in the policy; for people. */
  name: string;
  /** Of a scorer; 0 for others. */
  weight: number;
  a: ProgramNumber;
  /** p0 to p3. */
  p: [number, number, number, number];
  flags: number;
}

export interface ProgramCode {
  code: CodeName;
  argument: ProgramNumber;
  constant: number;
}

export interface ProgramProfile {
  name: string;
  role: "decode" | "prefill";
  /** Filters and scorers in the order they run, then the picker. */
  ops: ProgramOp[];
}

/** Where a pod's custom column comes from. */
export type ColumnSource =
  /** A scraper's attribute, or a plugin module's. */
  | { from: "attribute"; name: string }
  /** Ends of the range that a label such as "0-4096" gives. */
  | { from: "range-start" | "range-end"; label: string }
  /** Hash of a label's value. */
  | { from: "label"; label: string };

/** Which pods a label selector takes. Every requirement holds. */
export interface LabelSelector {
  matchLabels: Record<string, string>;
  matchExpressions: {
    key: string;
    /** AbsentOrIn is not Kubernetes' own: by-label with allowsNoLabel. */
    operator: "In" | "NotIn" | "Exists" | "DoesNotExist" | "AbsentOrIn";
    values: string[];
  }[];
}

export interface SchedulingProgram {
  handler: "Single" | "Disaggregated" | "Header";
  /** Index of the profile of decode pods, or of every request. */
  main: number;
  /** Index of the profile of prefill pods. */
  prefill: number | null;
  /** Request headers that operations look at, in lower case. */
  headers: string[];
  /** Index of the header that names the profile. */
  profileHeader: number;
  profiles: ProgramProfile[];
  code: ProgramCode[];
  /** Of each custom column, in order. */
  columns: ColumnSource[];
  /** Of each label bit, in order. */
  selectors: LabelSelector[];
  /** Whether adapters of pods are looked at. */
  adapters: boolean;
}

/** Whether pods' columns must be told to gateways. */
export function needsColumns({ columns, selectors, adapters }: SchedulingProgram): boolean {
  return columns.length > 0 || selectors.length > 0 || adapters;
}
