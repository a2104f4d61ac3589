// `npm test`: prepares the checkout, then runs vitest; arguments pass through.
import { spawn } from "node:child_process";
import { join } from "node:path";
import { prepare, root } from "./prepare.mjs";

const child = spawn(
  process.execPath,
  [join(root, "node_modules", "vitest", "vitest.mjs"), "run", ...process.argv.slice(2)],
  { cwd: root, stdio: "inherit", env: prepare() },
);
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => child.kill(signal));
child.on("exit", (code, signal) => process.exit(code ?? (signal ? 130 : 1)));
