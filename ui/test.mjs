// Runs the units' tests, src/**/*.test.ts, in Node. What needs a browser is tested in e2e.
import { spawnSync } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { build } from 'esbuild';

const here = path.dirname(new URL(import.meta.url).pathname);
const out = await mkdtemp(path.join(here, 'node_modules', '.test-'));
try {
  const tests = (await readdir(path.join(here, 'src'), { recursive: true })).filter((name) => name.endsWith('.test.ts'));
  await build({ absWorkingDir: here, entryPoints: tests.map((name) => 'src/' + name), outdir: out, outExtension: { '.js': '.mjs' }, bundle: true, format: 'esm', platform: 'node', target: 'node20', logLevel: 'warning' });
  process.exitCode = spawnSync(process.execPath, ['--test', out], { stdio: 'inherit' }).status ?? 1;
} finally {
  await rm(out, { recursive: true });
}
