import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { engineRenderer } from "../../agent/model/engine-renderer.js";
import { SavedTemplates } from "../../agent/model/saved-templates.js";
import { probeTemplate, recheckTemplate } from "../../agent/model/template-prober.js";
import { loadTokenBytes } from "../../agent/model/token-bytes.js";
import { EngineServer, type EngineServerOptions } from "./engine-server.js";
import { fixturePath } from "./fixtures.js";

const table = await loadTokenBytes(fixturePath("model-chatml/tokenizer.json"));
let folder: string;
const servers: EngineServer[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "warmgate-templates-"));
});
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
  await rm(folder, { recursive: true });
});

async function renderer(options: EngineServerOptions = {}) {
  const server = new EngineServer(options);
  servers.push(server);
  return engineRenderer(`http://127.0.0.1:${await server.listen()}`, table);
}

describe("a learned template in the state folder", () => {
  test("is read as it was written, and holds for the engine it was learned from", async () => {
    const engine = await renderer();
    const { program, verified, shapes } = await probeTemplate(engine, Math.random);
    const saved = new SavedTemplates(folder);
    await saved.write("m", table, { program, verified, shapes });
    const read = await saved.read("m", table);
    expect(read).toEqual({ program, verified, shapes });
    expect(await recheckTemplate(engine, read!.program, Math.random)).toBeNull();
    // Another model's, and the same model's with another tokenizer, are others.
    expect(await saved.read("n", table)).toBeNull();
    expect(await saved.read("m", { ...table, known: table.known.map((k) => 1 - k) })).toBeNull();

    const marked =
      "{% for m in messages %}<|im_start|>{{ m['role'] }}\n!{{ m['content'] }}<|im_end|>\n{% endfor %}";
    expect(
      await recheckTemplate(await renderer({ template: marked }), read!.program, Math.random),
    ).not.toBeNull();
    expect(await recheckTemplate(await renderer({ bos: "<|endoftext|>" }), read!.program, Math.random)).toBe(
      "raw prompts begin otherwise",
    );
  });

  test("counts as absent when its file is damaged", async () => {
    const saved = new SavedTemplates(folder);
    expect(await saved.read("m", table)).toBeNull();
    const { program, verified, shapes } = await probeTemplate(await renderer(), Math.random);
    await saved.write("m", table, { program, verified, shapes });
    const [file] = await readdir(folder);
    for (const damage of ["", "{", '{"format":99}', "[]", "null"]) {
      await writeFile(join(folder, file!), damage);
      expect(await saved.read("m", table)).toBeNull();
    }
  });
});
