// Builds the page into dist/, which the binary embeds: `npm ci && npm run build`.
//
//   index.html                 names those below by their hashes, so that they can be cached for ever
//   assets/page-HASH.js, .css  everything, ours and the three libraries
//   assets/first-HASH.js       what asks the server while the page still loads
//   licenses.txt               of the libraries
//
// dist/.keep is committed, for go:embed; the rest is not.
import { mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { build } from 'esbuild';

const here = path.dirname(new URL(import.meta.url).pathname);
const dist = path.join(here, 'dist');

for (const name of await readdir(dist)) {
  if (name !== '.keep') await rm(path.join(dist, name), { recursive: true });
}
await mkdir(path.join(dist, 'assets'));

const result = await build({
  absWorkingDir: here,
  entryPoints: { page: 'src/main.tsx', first: 'src/first.ts' },
  outdir: 'dist/assets',
  entryNames: '[name]-[hash]',
  bundle: true,
  minify: true,
  format: 'esm',
  target: ['es2022', 'chrome111', 'firefox113', 'safari16.4'],
  jsx: 'automatic',
  jsxImportSource: 'preact',
  legalComments: 'none', // they are in licenses.txt
  metafile: true,
  logLevel: 'warning',
});

const built = Object.keys(result.metafile.outputs).map((file) => path.relative('dist', file));
let html = await readFile(path.join(here, 'src/index.html'), 'utf8');
for (const [, name, extension] of html.matchAll(/assets\/(\w+)\.(\w+)/g)) {
  const file = built.find((file) => file.startsWith(`assets/${name}-`) && file.endsWith('.' + extension));
  html = html.replace(`assets/${name}.${extension}`, file);
}
await writeFile(path.join(dist, 'index.html'), html);
await writeFile(path.join(dist, 'licenses.txt'), await licenses(Object.keys(result.metafile.inputs)));

/** The licences of the libraries that files of the bundle come from. */
async function licenses(inputs) {
  const libraries = new Set(inputs.map((file) => /^node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(file)?.[1]).filter(Boolean));
  const texts = [...libraries].sort().map(async (name) => {
    const folder = path.join(here, 'node_modules', name);
    const { version, license } = JSON.parse(await readFile(path.join(folder, 'package.json'), 'utf8'));
    return `${name} ${version} (${license})\n\n${await readFile(path.join(folder, 'LICENSE'), 'utf8')}`;
  });
  return (await Promise.all(texts)).join('\n' + '-'.repeat(80) + '\n\n');
}
