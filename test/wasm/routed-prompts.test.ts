// What is known of a prompt between its routing and the engine's events: by the worker that routed it and by the others.
import { expect, test } from "vitest";
import { Host, Process, type Request } from "./host.js";
import { renderChatml, TestAgent } from "./table.js";

const configuration = { debugHeaders: "all" };
const ADDRESS = "10.0.0.1:8000";
const message = (role: string, content: string) => ({ role, content });
const words = (name: string, n: number) => `${name} `.repeat(n).slice(0, n);
const FIRST = [message("user", words("first", 4000))];
/** Turns that part right behind the first. */
const next = (name: string) => [
  ...FIRST,
  message("assistant", `${name}.`),
  message("user", words(name, 700)),
];

/** Two workers of one process that have had a request each, and know that of each other. */
async function workers(pods = 1) {
  const agent = await TestAgent.create(pods);
  const process = new Process();
  const hosts = [new Host({ configuration, process }), new Host({ configuration, process })] as const;
  for (const host of hosts) host.receive(agent.snapshot());
  const pass = (ms: number) => {
    for (const host of hosts) host.tick(ms);
  };
  pass(5);
  for (const host of hosts) host.chat({ model: "m", messages: [message("user", "hello")] }).end();
  pass(1005);
  pass(1005);
  return { agent, hosts, pass };
}

function ask(host: Host, messages: object[]): { r: Request; predicted: number } {
  const r = host.chat({ model: "m", messages });
  r.onResponse(ADDRESS);
  return { r, predicted: Number(r.response("x-cache-prefix-length")) };
}

/** Ends an answer that says how many tokens its prompt has. */
function answer(r: Request, promptTokens: number | null): void {
  const usage = { prompt_tokens: promptTokens, prompt_tokens_details: { cached_tokens: 0 } };
  r.responseBody = new TextEncoder().encode(JSON.stringify({ choices: [], usage }));
  r.onResponseBody(r.responseBody.length, true);
  r.end();
}

test("a conversation's next turn is expected on its pod by a worker that did not see the last one", async () => {
  const { hosts, pass } = await workers(3);
  const [one, two] = hosts;
  const first = one.chat({ model: "m", messages: FIRST });
  const chosen = first.header("x-gateway-destination-endpoint")!.split(",")[0]!;
  first.onResponse(chosen);
  for (const [i, host] of [two, one].entries()) {
    const second = host.chat({ model: "m", messages: next(`turn ${i}`) });
    expect(second.header("x-gateway-destination-endpoint")!.split(",")[0]).toBe(chosen);
    second.onResponse(chosen);
    expect(Number(second.response("x-cache-prefix-length"))).toBeGreaterThan(3900);
    second.end();
  }
  // Nothing was announced until long after its end.
  answer(first, null);
  pass(600);
  expect(ask(two, next("late")).predicted).toBe(0);
});

test("an answer's count of its prompt tells both workers how many tokens the routed text has", async () => {
  const { hosts } = await workers();
  const [one, two] = hosts;
  const { r } = ask(one, FIRST);
  const bytes = renderChatml(FIRST).length;
  // By the model's ratio a token is a byte; the engine says that it is two and a half.
  const counted = Math.round(bytes / 2.5);
  answer(r, counted);
  for (const [i, host] of [one, two].entries()) {
    const { predicted } = ask(host, next(`turn ${i}`));
    expect(predicted).toBeLessThanOrEqual(counted);
    expect(predicted).toBeGreaterThan(counted - 128 / 2.5 - 16);
  }
});

test("turns that came on alternating workers are all followed, though no event has come", async () => {
  const { hosts } = await workers();
  const turns = [...FIRST];
  let sent = 0;
  for (let turn = 0; turn < 6; turn++) {
    const { r, predicted } = ask(hosts[turn % 2]!, turns);
    if (turn > 0) {
      expect(predicted).toBeLessThanOrEqual(sent);
      expect(predicted).toBeGreaterThan(sent - 128 - 16);
    }
    sent = renderChatml(turns).length;
    answer(r, sent);
    turns.push(message("assistant", "Yes."), message("user", words(`turn ${turn}`, 500)));
  }
});

test("a prompt that only begins like a routed one is expected as far as they are the same", async () => {
  for (const [shared, off] of [
    [300, 0],
    [2000, 0],
    [7000, 0],
    // Of a long prompt each eighth block is compared.
    [11_000, 7 * 128],
  ] as const) {
    const { hosts } = await workers();
    const begins = (name: string) => [message("user", `${words("first", shared)}${words(name, 6000)}`)];
    const { r } = ask(hosts[0], begins("here"));
    const { predicted } = ask(hosts[1], begins("there"));
    expect(predicted).toBeLessThanOrEqual(shared + 32);
    expect(predicted).toBeGreaterThan(shared - 128 - off);
    r.end();
  }
});

test("of a prefill that is over the table's part counts: the rest was evicted", async () => {
  for (const asked of [0, 1] as const) {
    const { agent, hosts } = await workers();
    const { r } = ask(hosts[0], FIRST);
    agent.cache(0, renderChatml(FIRST).subarray(0, 1920));
    const announced = agent.wire.drain();
    for (const host of hosts) host.receive(announced);
    // Under way: the engine computes the prompt step by step, and the rest is to come.
    expect(ask(hosts[0], next("soon")).predicted).toBeGreaterThan(3900);
    answer(r, null);
    expect(ask(hosts[asked], next("later")).predicted).toBe(1920);
  }
});

test("what a request did not reach after a retry is expected by no worker", async () => {
  for (const asked of [0, 1] as const) {
    const { hosts } = await workers(2);
    const r = hosts[0].chat({ model: "m", messages: FIRST });
    const chosen = r.header("x-gateway-destination-endpoint")!.split(",")[0]!;
    r.onResponse(chosen === ADDRESS ? "10.0.0.2:8000" : ADDRESS);
    const second = hosts[asked].chat({ model: "m", messages: next("second") });
    second.onResponse(second.header("x-gateway-destination-endpoint")!.split(",")[0]!);
    expect(Number(second.response("x-cache-prefix-length"))).toBe(0);
  }
});
