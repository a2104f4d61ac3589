// Shape of warmgate.yaml. docs/configuration.md explains each key; the validator walks this schema.
import { type Static, Type } from "typebox";
import { PolicyInputSchema } from "../policy/document.js";
import { DURATION_PATTERN } from "./duration.js";

const closed = { additionalProperties: false } as const;
const Duration = Type.String({ pattern: DURATION_PATTERN, examples: ["500ms", "5s", "2m"] });
const Address = Type.String({
  pattern: "^(\\[[0-9a-fA-F:.]+\\]|[0-9]{1,3}(\\.[0-9]{1,3}){3}):[0-9]{1,5}$",
  examples: ["127.0.0.1:8080", "[::1]:8080"],
});
const ZmqEndpoint = Type.String({ pattern: "^(tcp|ipc)://[^*]+$", examples: ["tcp://10.0.0.7:5557"] });
const Text = Type.String({ minLength: 1, maxLength: 255 });
const Port = Type.Integer({ minimum: 1, maximum: 65535 });

const PodSchema = Type.Object(
  {
    name: Text,
    address: Address,
    role: Type.Optional(Type.Union([Type.Literal("decode"), Type.Literal("prefill"), Type.Literal("both")])),
    labels: Type.Optional(Type.Record(Type.String(), Type.String())),
    events: Type.Optional(ZmqEndpoint),
    replay: Type.Optional(ZmqEndpoint),
    metricsPort: Type.Optional(Port),
    prefillTokensPerSecond: Type.Optional(Type.Number({ minimum: 1 })),
  },
  closed,
);

const ModelSchema = Type.Object(
  {
    name: Text,
    tokenizer: Text,
    template: Type.Optional(Type.Union([Type.Literal("probe"), Type.Literal("none")])),
    aliases: Type.Optional(Type.Array(Text)),
    kvBytesPerToken: Type.Optional(Type.Integer({ minimum: 1 })),
  },
  closed,
);

const PoolSchema = Type.Object(
  { name: Text, model: ModelSchema, pods: Type.Array(PodSchema, { minItems: 1, maxItems: 1024 }) },
  closed,
);

export const ConfigSchema = Type.Object(
  {
    listen: Type.Optional(
      Type.Object(
        { http: Type.Optional(Address), stream: Type.Optional(Address), events: Type.Optional(Address) },
        closed,
      ),
    ),
    tokenFile: Type.Optional(Text),
    secretFile: Type.Optional(Text),
    state: Type.Optional(Text),
    scrape: Type.Optional(
      Type.Object(
        {
          interval: Type.Optional(Duration),
          timeout: Type.Optional(Duration),
          ttl: Type.Optional(Duration),
        },
        closed,
      ),
    ),
    index: Type.Optional(
      Type.Object(
        {
          ttl: Type.Optional(Duration),
          maxBlocks: Type.Optional(Type.Integer({ minimum: 1 })),
          cleanupInterval: Type.Optional(Duration),
        },
        closed,
      ),
    ),
    pools: Type.Array(PoolSchema, { minItems: 1 }),
    policy: Type.Optional(PolicyInputSchema),
  },
  closed,
);

/** warmgate.yaml as written. */
export type ConfigDocument = Static<typeof ConfigSchema>;
