// `npm start`: prepares the checkout, then runs the main job with the same arguments.
import { spawn } from "node:child_process";
import { join } from "node:path";
import { prepare, root } from "./prepare.mjs";

const child = spawn(process.execPath, [join(root, "dist", "demo", "main.js"), ...process.argv.slice(2)], {
  stdio: "inherit",
  env: prepare(),
});
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => child.kill(signal));
child.on("exit", (code, signal) => process.exit(code ?? (signal ? 130 : 1)));
