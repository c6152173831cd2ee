/**
 * Bundles each program into dist/: a bundled service needs 35 MB less memory than one run from its sources, and the
 * CLI starts in half the time. Shared chunks lie flat beside the programs, so that every chunk finds the migrations by
 * `import.meta.url`.
 */
import { chmodSync, globSync, mkdirSync, readFileSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { basename, join, relative } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { build } from 'esbuild'
import { bundling, WHOLE } from './bundling.ts'
import { lockFolder } from './lock.ts'

const MIGRATIONS = 'services/core/store/sqlite/file/migrations'
/** After this time a program that was started has loaded its files. */
const STARTING_MS = 2_000

const programs = ['bridge', 'keepalive', 'fs-watcher', 'cred-sync', 'watchdog', 'worker', 'local']
const entryPoints = {
  ...Object.fromEntries(programs.map((name) => [name, `services/${name}/main.ts`])),
  s2: 'services/cli/main.ts',
}

const root = join(import.meta.dirname, '..')
process.chdir(root)
// Two builds at once would remove each other's files.
await using _lock = await lockFolder('.')
// The stamp has the time of the start: a source saved during a build is built the next time.
const began = new Date()

const parts = { outdir: 'dist', write: false } as const
const builds = await Promise.all([
  build({ ...bundling(entryPoints), ...parts }),
  // One file is read in half the time of some thirty: a client waits for each of its hooks.
  build({ ...bundling({ [WHOLE]: `services/cli/${WHOLE}.ts` }), splitting: false, ...parts }),
])
const outputFiles = builds.flatMap((each) => each.outputFiles)

// Each file is replaced as a whole, chunks before the programs that load them, and old files go last: a program that runs or
// starts meanwhile finds all its files, and a killed build leaves no half file.
// The path is absolute, because Node tries for ever to make folders in a working folder that was removed.
mkdirSync(join(root, 'dist/migrations'), { recursive: true })
const migrations = globSync('*.sql', { cwd: MIGRATIONS })
for (const name of migrations) put(`dist/migrations/${name}`, readFileSync(`${MIGRATIONS}/${name}`))
const entries = new Set(Object.keys(entryPoints).map((name) => `${name}.js`))
for (const { path, contents } of outputFiles) if (!entries.has(basename(path))) put(path, contents)
for (const { path, text } of outputFiles) {
  if (!entries.has(basename(path))) continue
  const isCommand = basename(path) === 's2.js'
  put(path, isCommand && !text.startsWith('#!') ? `#!/usr/bin/env node\n${text}` : text, isCommand ? 0o755 : 0o644)
}
const fresh = new Set([
  ...outputFiles.map(({ path }) => relative('dist', path)),
  ...migrations.map((name) => `migrations/${name}`),
])
const old = globSync('{*.{js,part},migrations/*}', { cwd: 'dist' }).filter((name) => !fresh.has(name))
if (old.length > 0) await sleep(STARTING_MS)
for (const name of old) rmSync(`dist/${name}`, { force: true })

const bytes = outputFiles.reduce((sum, { contents }) => sum + contents.length, 0)
console.log(
  `dist: ${Object.keys(entryPoints).length} programs, ${Math.round(bytes / 1024)} kB in ${outputFiles.length} files`,
)

put('dist/.stamp', '')
utimesSync('dist/.stamp', began, began)

/** Replaces a file atomically. */
function put(path: string, content: string | Uint8Array, mode = 0o644): void {
  writeFileSync(`${path}.part`, content)
  chmodSync(`${path}.part`, mode)
  renameSync(`${path}.part`, path)
}
