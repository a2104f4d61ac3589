import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { packageRoot } from "../../agent/package-root.js";
import { freshTokens, post, startPod } from "./pod-harness.js";

describe("metrics", () => {
  it("uses names, types and labels that a real vLLM has", async () => {
    const text = readFileSync(join(packageRoot(), "test/fixtures/vllm/metrics.txt"), "utf8");
    const real = new Map<string, string>();
    const labels = new Map<string, Set<string>>();
    const read = (page: string, each: (name: string, label: string[]) => void): void => {
      for (const line of page.split("\n")) {
        const sample = /^(vllm:\w+)\{(.*)\} /.exec(line);
        if (sample)
          each(
            sample[1] as string,
            [...(sample[2] as string).matchAll(/(\w+)="/g)].map((m) => m[1] as string),
          );
      }
    };
    for (const [, name, type] of text.matchAll(/^# TYPE (vllm:\S+) (\w+)$/gm))
      real.set(name as string, type as string);
    read(text, (name, found) => labels.set(name, new Set([...(labels.get(name) ?? []), ...found])));
    const pod = await startPod();
    const page = await (await fetch(`${pod.url}/metrics`)).text();
    pod.stop();
    for (const [, name, type] of page.matchAll(/^# TYPE (vllm:\S+) (\w+)$/gm))
      expect(real.get(name as string)).toBe(type);
    read(page, (name, found) => {
      for (const label of found) expect(labels.get(name), `${name} ${label}`).toContain(label);
    });
  });

  it("counts tokens, hits and finished requests", async () => {
    const pod = await startPod({ blocks: 101 });
    const prompt = freshTokens(160);
    for (let i = 0; i < 2; i++) await post(`${pod.url}/v1/completions`, { prompt, max_tokens: 4 });
    const page = await (await fetch(`${pod.url}/metrics`)).text();
    pod.stop();
    const own = '{engine="0",model_name="test-model"}';
    expect(page).toContain(`vllm:prompt_tokens_total${own} 320.0`);
    expect(page).toContain(`vllm:prefix_cache_queries_total${own} 320.0`);
    expect(page).toContain(`vllm:prefix_cache_hits_total${own} 144.0`);
    expect(page).toContain(`vllm:generation_tokens_total${own} 8.0`);
    expect(page).toContain(`vllm:time_to_first_token_seconds_count${own} 2.0`);
    expect(page).toContain(`vllm:kv_cache_usage_perc${own} 0.0`);
    expect(page).toMatch(/cache_config_info\{.*block_size="16".*num_gpu_blocks="101"/);
  });

  it("shows requests beyond --max-num-seqs as waiting", async () => {
    const pod = await startPod({ maxNumSeqs: 2, timeScale: 0.01 });
    const aborted = new AbortController();
    const body = JSON.stringify({ prompt: "Wait", max_tokens: 5, stream: true });
    const answers = Array.from({ length: 5 }, () =>
      fetch(`${pod.url}/v1/completions`, { method: "POST", body, signal: aborted.signal }),
    );
    await Promise.all(answers);
    pod.pod.clock.now();
    const page = await (await fetch(`${pod.url}/metrics`)).text();
    const value = (name: string): number =>
      Number(new RegExp(`^vllm:${name}\\{[^}]*\\} (.*)$`, "m").exec(page)?.[1]);
    expect(value("num_requests_running") + value("num_requests_waiting")).toBe(5);
    expect(value("num_requests_waiting")).toBeGreaterThanOrEqual(3);
    aborted.abort();
    pod.stop();
  });
});

describe("statistics", () => {
  it("sums up requests, and starts anew after a reset", async () => {
    const pod = await startPod();
    const prompt = freshTokens(160);
    for (let i = 0; i < 2; i++) await post(`${pod.url}/v1/completions`, { prompt, max_tokens: 4 });
    const read = async () => (await fetch(`${pod.url}/sim/stats`)).json();
    const stats = await read();
    expect(stats).toMatchObject({ requests: 2, promptTokens: 320, cachedTokens: 144, timeScale: 50 });
    expect(stats.ttftMs.mean).toBeGreaterThan(12);
    expect(stats.eventLoopLagMs).toEqual({
      p50: expect.any(Number),
      p99: expect.any(Number),
      max: expect.any(Number),
    });
    await post(`${pod.url}/sim/stats/reset`, {});
    expect(await read()).toMatchObject({
      requests: 0,
      promptTokens: 0,
      cachedTokens: 0,
      ttftMs: { mean: 0 },
    });
    pod.stop();
  });

  it("counts routing headers that a gateway let through", async () => {
    const pod = await startPod();
    const headers = {
      "X-Gateway-Destination-Endpoint": "1.2.3.4:80",
      "x-prefiller-host-port": "a",
      "x-session-id": "ok",
    };
    await fetch(`${pod.url}/health`, { headers });
    expect(await (await fetch(`${pod.url}/sim/stats`)).json()).toMatchObject({ routingHeadersSeen: 2 });
    pod.stop();
  });
});
