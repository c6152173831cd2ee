/**
 * Bundles each program into dist/: a bundled service needs 24 MB less memory than one run from its sources, and the
 * CLI starts in half the time. Chunks that programs share lie flat beside them, so that what code finds beside
 * itself by `import.meta.url` (the migrations) is found from every chunk.
 */
import { chmodSync, cpSync, globSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { basename } from 'node:path'
import { build } from 'esbuild'

const services = ['bridge', 'keepalive', 'fs-watcher', 'cred-sync', 'watchdog']
const entryPoints = {
  ...Object.fromEntries(services.map((name) => [name, `services/${name}/main.ts`])),
  s2: 'services/cli/main.ts',
}

// CommonJS packages inside an ES module still ask for these.
const banner = `import { createRequire as createRequireForBundle } from 'node:module'
const require = createRequireForBundle(import.meta.url), __filename = import.meta.filename, __dirname = import.meta.dirname
`

process.chdir(new URL('..', import.meta.url).pathname)

const { outputFiles } = await build({
  entryPoints,
  outdir: 'dist',
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node24',
  banner: { js: banner },
  // Native modules find their binaries beside their own package.json.
  external: ['better-sqlite3', 'node-inotify', 'unix-dgram'],
  logLevel: 'warning',
  write: false,
})

mkdirSync('dist', { recursive: true })
// Each file appears whole, and the old ones go last: a program that is running while we build keeps its footing.
for (const { path, text } of outputFiles) {
  const isCommand = basename(path) === 's2.js'
  writeFileSync(`${path}.part`, isCommand && !text.startsWith('#!') ? `#!/usr/bin/env node\n${text}` : text)
  if (isCommand) chmodSync(`${path}.part`, 0o755)
  renameSync(`${path}.part`, path)
}
const fresh = new Set(outputFiles.map(({ path }) => basename(path)))
for (const file of globSync('dist/*.{js,part}')) if (!fresh.has(basename(file))) rmSync(file)

rmSync('dist/migrations', { recursive: true, force: true })
cpSync('services/core/store/sqlite/migrations', 'dist/migrations', { recursive: true })

const bytes = outputFiles.reduce((sum, { contents }) => sum + contents.length, 0)
console.log(
  `dist: ${Object.keys(entryPoints).length} programs, ${Math.round(bytes / 1024)} kB in ${outputFiles.length} files`,
)
