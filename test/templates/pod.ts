// A pod whose prompts Python's Jinja renders: the templates of well-known models, from packages that ship them.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { packageRoot } from "../../agent/package-root.js";

/** The two carriers of templates are pure Python and need nothing here; only their files are used. */
const PACKAGES = ["jinja2==3.1.6", "markupsafe==3.0.3", "trl==1.16.0", "axolotl==0.19.0"];
const TRL = "trl/chat_templates";
const AXOLOTL = "axolotl/utils/chat_templates/templates";

/** Files of the templates by name. */
export const TEMPLATES = {
  chatml: `${AXOLOTL}/chatml.jinja`,
  "qwen-2.5": `${TRL}/qwen2_5.jinja`,
  "qwen-3": `${TRL}/qwen3.jinja`,
  "llama-3": `${TRL}/llama3.jinja`,
  "llama-3.1": `${TRL}/llama3_1.jinja`,
  "llama-3.2": `${TRL}/llama3_2.jinja`,
  "mistral-v3": `${AXOLOTL}/mistral_v2v3.jinja`,
  "mistral-nemo": `${AXOLOTL}/mistral_v3_tekken.jinja`,
  gemma: `${TRL}/gemma.jinja`,
  "gemma-3": `${TRL}/gemma3.jinja`,
  "deepseek-v3": `${TRL}/deepseekv3.jinja`,
  "deepseek-r1-distill": `${TRL}/deepseek_r1_distill.jinja`,
  "phi-3.5": `${TRL}/phi3_5.jinja`,
  "phi-4": `${AXOLOTL}/phi_4.jinja`,
  "gpt-oss": `${TRL}/gptoss.jinja`,
} as const;
export type TemplateName = keyof typeof TEMPLATES;

/** Folder of the packages, installed once; another list makes another folder. */
function packages(): string {
  const id = createHash("sha256").update(PACKAGES.join("\n")).digest("hex").slice(0, 12);
  const cache = join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "warmgate");
  const folder = join(cache, `templates-${id}`);
  if (existsSync(folder)) return folder;
  mkdirSync(dirname(folder), { recursive: true });
  const temporary = mkdtempSync(join(cache, "templates-"));
  const venv = join(temporary, "venv");
  const made = join(temporary, "packages");
  execFileSync("python3", ["-m", "venv", venv], { stdio: "pipe" });
  execFileSync(
    join(venv, "bin", "python"),
    [
      "-m",
      "pip",
      "install",
      "--quiet",
      "--disable-pip-version-check",
      "--no-deps",
      "--target",
      made,
      ...PACKAGES,
    ],
    { stdio: "pipe" },
  );
  try {
    renameSync(made, folder);
  } catch (error) {
    // Another run was quicker.
    if (!existsSync(folder)) throw error;
  }
  rmSync(temporary, { recursive: true, force: true });
  return folder;
}

export class TemplatePod {
  #child: ChildProcess | null = null;
  #port = 0;

  /** Starts the server. @throws when Python 3 with venv is missing or ends early. */
  async start(): Promise<void> {
    const folder = packages();
    const script = join(packageRoot(), "test", "templates", "pod.py");
    const files = Object.entries(TEMPLATES).map(([name, file]) => `${name}=${join(folder, file)}`);
    const child = spawn("python3", [script, ...files], {
      stdio: ["ignore", "pipe", "inherit"],
      env: { ...process.env, PYTHONPATH: folder },
    });
    this.#child = child;
    const ended = once(child, "exit").then(() => {
      throw new Error("the template pod ended; its output above says why");
    });
    const [first] = (await Promise.race([once(child.stdout!, "data"), ended])) as [Buffer];
    ended.catch(() => undefined);
    this.#port = Number(first.toString().trim());
  }

  /** What an engine of the model has as its address. */
  base(name: TemplateName): string {
    return `http://127.0.0.1:${this.#port}/${name}`;
  }

  /** Sets the pod's clock, which templates print. */
  async setClock(now: string): Promise<void> {
    await fetch(`${this.base("chatml")}/clock`, { method: "POST", body: JSON.stringify({ now }) });
  }

  stop(): void {
    this.#child?.kill();
  }
}
