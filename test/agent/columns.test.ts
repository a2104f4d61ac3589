// Engines' other metric names, and custom columns: by scrapers of the policy and by plugin modules.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { FastifyInstance } from "fastify";
import { afterEach, describe, expect, test } from "vitest";
import { loadConfig } from "../../agent/config/load.js";
import { attributeValues } from "../../agent/load/attribute-scraper.js";
import { loadPlugins } from "../../agent/load/column-plugins.js";
import { columnRows } from "../../agent/load/column-rows.js";
import { engineMetrics } from "../../agent/load/engine-metrics.js";
import { configFor, newStateFolder, startAgent, startPod, stopPod, type TestPod } from "./agent-for-test.js";
import { until } from "./event-publisher.js";
import { fixturePath } from "./fixtures.js";

describe("engine metrics", () => {
  test.each([
    [
      "the older documents' names",
      "vllm_queue_length 4\nvllm_active_requests 7\nvllm_kv_cache_usage_percent 25",
      { waiting: 4, running: 7, kvUsage: 0.25 },
    ],
    [
      "SGLang",
      'sglang:num_queue_reqs 4\nsglang:num_running_reqs 7\nsglang:token_usage 0.25\nsglang:cache_config_info{page_size="64",num_pages="100"} 1',
      { waiting: 4, running: 7, kvUsage: 0.25, blockTokens: 64, capacityTokens: 6400 },
    ],
    [
      "trtllm-serve",
      "trtllm_num_requests_waiting 4\ntrtllm_num_requests_running 7\ntrtllm_kv_cache_utilization 0.25\ntrtllm_kv_cache_tokens_per_block 32\ntrtllm_kv_cache_max_blocks 10",
      { waiting: 4, running: 7, kvUsage: 0.25, blockTokens: 32, capacityTokens: 320 },
    ],
    [
      "Triton's TensorRT-LLM",
      [
        'nv_trt_llm_request_metrics{request_type="waiting"} 4',
        'nv_trt_llm_request_metrics{request_type="scheduled"} 7',
        'nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="fraction"} 0.25',
        'nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="tokens_per"} 32',
        'nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="max"} 10',
      ].join("\n"),
      { waiting: 4, running: 7, kvUsage: 0.25, blockTokens: 32, capacityTokens: 320 },
    ],
  ])("are read under the names of %s", (_, text, wanted) => {
    expect(engineMetrics(text)).toMatchObject(wanted);
  });

  test("tell the adapters of the latest sample", () => {
    const sample = (running: string, waiting: string, at: number) =>
      `vllm:lora_requests_info{max_lora="4",running_lora_adapters="${running}",waiting_lora_adapters="${waiting}"} ${at}`;
    const { adapters } = engineMetrics(
      [
        "vllm:num_requests_running 0",
        sample("old", "", 10),
        sample("sql, chat", "code", 20),
        sample("", "", 5),
      ].join("\n"),
    )!;
    expect(adapters).toEqual({ active: ["sql", "chat"], waiting: ["code"], most: 4 });
  });
});

test("values of custom metrics are those with the labels, added up, and absent where there is none", () => {
  const text = 'temp{gpu="0"} 60\ntemp{gpu="1"} 80\nodd NaN';
  const metric = (attribute: string, name: string, labels = {}) => ({ attribute, metric: name, labels });
  expect(
    attributeValues(text, [metric("all", "temp"), metric("one", "temp", { gpu: "1" }), metric("odd", "odd")]),
  ).toEqual(
    new Map([
      ["all", 140],
      ["one", 80],
    ]),
  );
});

describe("columns of an agent", () => {
  const pods: TestPod[] = [];
  let app: FastifyInstance | undefined;
  afterEach(async () => {
    await app?.close();
    await Promise.all(pods.splice(0).map(stopPod));
  });

  const columnsNow = () =>
    columnRows(app!.policy.current.program.scheduling, app!.registry.pods, performance.now()).map(
      (r) => r.columns,
    );

  test("come from scrapers of the policy, follow its changes and grow old", async () => {
    const pod = await startPod({ metrics: "vllm:num_requests_running 0\ngpu_temp 61" });
    pods.push(pod);
    app = await startAgent(configFor(pods, newStateFolder()));
    const put = (attribute: string) =>
      app!.inject({
        method: "PUT",
        url: "/api/v1/policy",
        payload: {
          scheduling: {
            plugins: [
              {
                type: "generic-prometheus-scraper",
                parameters: { interval: "50ms", ttl: "400ms", metrics: { [attribute]: "gpu_temp" } },
              },
              { type: "endpoint-attribute-scorer", parameters: { attributeKey: attribute } },
            ],
          },
        },
      });
    expect((await put("heat")).statusCode).toBe(200);
    await until(() => columnsNow()[0]![0] === 61, "the column");
    pod.http.options.metrics = "vllm:num_requests_running 0\ngpu_temp 75";
    await until(() => columnsNow()[0]![0] === 75, "the column");
    pod.http.options.metrics = "vllm:num_requests_running 0";
    await until(() => Number.isNaN(columnsNow()[0]![0]), "the column");
    pod.http.options.metrics = "vllm:num_requests_running 0\ngpu_temp 50";
    expect((await put("other")).statusCode).toBe(200);
    await until(() => columnsNow()[0]![0] === 50, "the column");
  });

  test("come from a plugin module that is told of the pods", async () => {
    pods.push(await startPod(), await startPod());
    const folder = newStateFolder();
    const file = join(folder, "cost.mjs");
    writeFileSync(
      file,
      'export default { name: "cost", interval: "100ms", column: (pods) => ({ [pods[0].name]: pods.length + 0.5 }) };',
    );
    const config = configFor(pods, folder);
    config.plugins = await loadPlugins([file]);
    app = await startAgent(config);
    const answer = await app.inject({
      method: "PUT",
      url: "/api/v1/policy",
      payload: {
        scheduling: { plugins: [{ type: "expression-scorer", parameters: { expression: "1 / cost" } }] },
      },
    });
    expect(answer.json()).not.toHaveProperty("error");
    await until(() => columnsNow()[0]![0] === 2.5, "the column");
    expect(columnsNow()[1]![0]).toBeNaN();
  });

  test("of a module may be named by the policy of the configuration file, and of none otherwise", async () => {
    const folder = newStateFolder();
    const [module, config] = [join(folder, "cost.mjs"), join(folder, "warmgate.yaml")];
    writeFileSync(module, 'export default { name: "cost", column: () => ({}) };');
    writeFileSync(
      config,
      `pools: [{name: a, model: {name: m, tokenizer: ${fixturePath("model-chatml")}}, pods: [{name: p, address: "127.0.0.1:9000"}]}]
policy: {scheduling: {plugins: [{type: endpoint-attribute-scorer, parameters: {attributeKey: cost}}]}}
`,
    );
    expect(loadConfig(config, await loadPlugins([module])).policy.scheduling.columns).toHaveLength(1);
    expect(() => loadConfig(config)).toThrow(/warmgate\.yaml:2:\d+: .*attributeKey: nothing provides "cost"/);
  });

  test.each([
    ["export default { column() {} }", /needs a name/],
    ['export default { name: "a" }', /needs a function column/],
    ['export default { name: "a", interval: "1ms", column() {} }', /interval must be a duration/],
    ["export default {", /cannot be loaded/],
  ])("are not taken from a module like %s", async (source, reason) => {
    const file = join(newStateFolder(), "wrong.mjs");
    writeFileSync(file, source);
    await expect(loadPlugins([file])).rejects.toThrow(reason);
  });
});
